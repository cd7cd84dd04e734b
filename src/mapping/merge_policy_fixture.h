// Shared by the merge policy tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string_view>

#include "mapping/merge_policy.h"

namespace lamina::mapping {

inline Uuid make_id(std::mt19937_64& random) {
  Uuid id;
  for (auto& byte : id.bytes) byte = static_cast<std::uint8_t>(random());
  id.bytes[0] |= 1;  // never nil
  return id;
}

inline PolicyLimits limits_of(std::string_view text) {
  const auto limits = parse_policy(text);
  EXPECT_TRUE(limits) << limits.error().message;
  return limits.value_or(PolicyLimits{});
}

}  // namespace lamina::mapping
