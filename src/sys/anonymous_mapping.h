#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "lamina/result.h"

namespace lamina::sys {

/// Memory of this process alone, zeros at first, in huge pages where the kernel gives them.
/// Movable; the bytes stay at their address. None of it is taken from the machine before it is
/// touched.
class AnonymousMapping {
 public:
  AnonymousMapping() = default;
  /// REQUIRES: bytes > 0. `object` says in a message what it is for.
  static Result<AnonymousMapping> map(std::size_t bytes, const std::string& object);

  AnonymousMapping(AnonymousMapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  AnonymousMapping& operator=(AnonymousMapping&& other) noexcept;
  AnonymousMapping(const AnonymousMapping&) = delete;
  AnonymousMapping& operator=(const AnonymousMapping&) = delete;
  ~AnonymousMapping();

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

}  // namespace lamina::sys
