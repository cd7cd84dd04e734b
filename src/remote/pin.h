// Pins: the objects v1/pins/<push id>, by which a push says what it is about to reference. They are
// its own objects, whose names have the push's id, and those that the pin names. The bytes are
// described in docs/format.md.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "remote/names.h"

namespace lamina::remote {

inline constexpr std::uint64_t kMaxPinBytes = std::uint64_t{16} << 20;

struct Pin {
  Uuid bucket_id;  ///< of the bucket that it was made for (bucket.h)
  Uuid push_id;
  RecordPlace place;                ///< of the manifest that will be put
  std::vector<std::string> reused;  ///< keys of objects

  bool operator==(const Pin&) const = default;
};

std::vector<std::byte> encode_pin(const Pin& pin);

/// kCorrupt: damaged, truncated, of an unknown version, or of another push than `push_id`.
Result<Pin> decode_pin(std::span<const std::byte> bytes, const Uuid& push_id);

}  // namespace lamina::remote
