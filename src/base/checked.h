// Overflow-checked arithmetic for numbers from files and sockets.
#pragma once

#include <concepts>
#include <optional>

namespace lamina {

/// a + b; nullopt on overflow.
template <std::unsigned_integral T>
constexpr std::optional<T> checked_add(T a, T b) {
  T sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// `value` rounded up to a multiple of `unit`; nullopt on overflow. REQUIRES: unit > 0.
template <std::unsigned_integral T>
constexpr std::optional<T> checked_round_up(T value, T unit) {
  const T rest = static_cast<T>(value % unit);
  if (rest == 0) return value;
  return checked_add<T>(value, static_cast<T>(unit - rest));
}

}  // namespace lamina
