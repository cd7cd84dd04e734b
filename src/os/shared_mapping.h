#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "lamina/result.h"

namespace lamina::os {

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

struct FileRange {
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
};

/// Sets storage aside for a part of the file, which grows to its end: kNoSpace when there is none.
Status reserve(int fd, const FileRange& range, const std::string& object);

/// Size of the file system that the file is in; 0 when it has no limit of its own.
Result<std::uint64_t> file_system_bytes(int fd, const std::string& object);

}  // namespace lamina::os
