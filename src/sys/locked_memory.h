#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "lamina/result.h"

namespace lamina::sys {

/// Private zeroed memory whose pages are there and stay: prefaulted, and locked as far as the
/// limits of the process (RLIMIT_MEMLOCK) allow.
class LockedMemory {
 public:
  LockedMemory() = default;
  static Result<LockedMemory> allocate(std::size_t bytes);

  LockedMemory(LockedMemory&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  LockedMemory& operator=(LockedMemory&& other) noexcept;
  LockedMemory(const LockedMemory&) = delete;
  LockedMemory& operator=(const LockedMemory&) = delete;
  ~LockedMemory();

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

}  // namespace lamina::sys
