// A sink that writes to a file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/write_behind.h"
#include "lamina/result.h"
#include "os/file.h"
#include "packed/pack_writer.h"

namespace lamina::packed {

/// Writes what it is passed to the empty file `fd`, in large pieces. Not thread-safe.
class FileSink {
 public:
  FileSink(int fd, std::string path) : fd_(fd), path_(std::move(path)), behind_(fd) {}

  /// A sink that passes on to this object, which must outlive it.
  Sink sink() {
    return [this](std::span<const std::byte> bytes) { return write(bytes); };
  }

  /// Bytes that were passed so far.
  [[nodiscard]] std::uint64_t size_bytes() const { return written_ + buffer_.size(); }

  Status write(std::span<const std::byte> bytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    return buffer_.size() < kBufferBytes ? Status() : flush();
  }

  /// Writes what is left. Not a sync.
  Status flush() {
    LAMINA_RETURN_IF_ERROR(os::write_at(fd_, buffer_, written_, path_));
    written_ += buffer_.size();
    buffer_.clear();
    behind_.written_until(written_);
    return {};
  }

 private:
  static constexpr std::size_t kBufferBytes = std::size_t{256} << 10;

  int fd_;
  std::string path_;
  engine::WriteBehind behind_;
  std::vector<std::byte> buffer_;
  std::uint64_t written_ = 0;
};

}  // namespace lamina::packed
