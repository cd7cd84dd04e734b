#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/run.h"
#include "lamina/result.h"

namespace lamina::os {

/// A shared read-write mapping of a file. Written data survives the process. Movable; the address
/// of the bytes does not change.
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

  /// Faults in [offset, offset + length) and locks it in memory, as far as RLIMIT_MEMLOCK allows.
  void lock(std::size_t offset, std::size_t length) const;

 private:
  std::span<std::byte> bytes_;
};

/// Allocates storage for a range of the file, extending the file if needed. kNoSpace if there is
/// not enough.
Status reserve(int fd, const ByteRange& range, const std::string& object);

/// Size of the file's file system; 0 if it has no limit of its own.
Result<std::uint64_t> file_system_bytes(int fd, const std::string& object);

}  // namespace lamina::os
