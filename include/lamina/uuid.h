// UUIDs of layers and pauses.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "lamina/result.h"

namespace lamina {

/// A UUID as 16 raw bytes in network order (RFC 9562). The nil UUID names "zeros, no storage".
struct Uuid {
  std::array<std::uint8_t, 16> bytes{};

  /// A fresh random (version 4) UUID. Thread-safe.
  static Uuid random();

  /// Parses the 36-character form (8-4-4-4-12 hexadecimal digits). kUsage for anything else.
  static Result<Uuid> parse(std::string_view text);

  /// The 36-character form, lower case.
  [[nodiscard]] std::string to_string() const;

  [[nodiscard]] bool is_nil() const { return *this == Uuid{}; }

  auto operator<=>(const Uuid&) const = default;
};

}  // namespace lamina
