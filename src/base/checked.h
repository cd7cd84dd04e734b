// Arithmetic on numbers that came from a file or a wire.
#pragma once

#include <concepts>
#include <optional>

namespace lamina {

/// a + b, or nothing when it does not fit.
template <std::unsigned_integral T>
constexpr std::optional<T> checked_add(T a, T b) {
  T sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// `value` rounded up to a multiple of `unit`, or nothing when that does not fit. REQUIRES: unit >
/// 0.
template <std::unsigned_integral T>
constexpr std::optional<T> checked_round_up(T value, T unit) {
  const T rest = static_cast<T>(value % unit);
  if (rest == 0) return value;
  return checked_add<T>(value, static_cast<T>(unit - rest));
}

}  // namespace lamina
