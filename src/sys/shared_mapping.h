#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "lamina/result.h"

namespace lamina::sys {

/// A file mapped for reading and writing, shared with whoever maps it too. What is written survives
/// the process. Movable; the bytes stay at their address.
class SharedMapping {
 public:
  SharedMapping() = default;
  static Result<SharedMapping> map(int fd, std::size_t bytes, const std::string& object);

  SharedMapping(SharedMapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  SharedMapping& operator=(SharedMapping&& other) noexcept;
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;
  ~SharedMapping();

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

  /// Faults [offset, offset + length) in and locks it in memory, as far as the limits of the
  /// process (RLIMIT_MEMLOCK) allow.
  void lock(std::size_t offset, std::size_t length) const;

 private:
  std::span<std::byte> bytes_;
};

/// Sets the file's size and sets storage aside for all of it: kNoSpace when there is none.
Status reserve(int fd, std::uint64_t bytes, const std::string& object);

}  // namespace lamina::sys
