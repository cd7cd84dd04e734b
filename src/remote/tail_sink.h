// Between the packing of an object and its upload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "packed/pack_writer.h"
#include "remote/pushed_object.h"
#include "remote/upload.h"

namespace lamina::remote {

/// Passes the bytes of an object to an upload, and keeps the last two pieces: index and footer.
class TailSink {
 public:
  explicit TailSink(Uploads& uploads) : uploads_(uploads) {}

  packed::Sink sink() {
    return [this](std::span<const std::byte> bytes) -> Status {
      index_.swap(footer_);
      footer_.assign(bytes.begin(), bytes.end());
      size_bytes_ += bytes.size();
      const Status written = uploads_.write(bytes);
      has_failed_ = has_failed_ || !written;
      return written;
    };
  }

  /// The object's description, without its key.
  [[nodiscard]] PushedObject object(const packed::PackedObject& packed) && {
    PushedObject object;
    object.reference.size_bytes = size_bytes_;
    object.reference.footer_digest = packed.footer_digest;
    object.footer = std::move(footer_);
    object.index = std::move(index_);
    return object;
  }
  /// True if the upload failed, not the reading.
  [[nodiscard]] bool has_failed() const { return has_failed_; }

 private:
  Uploads& uploads_;
  std::vector<std::byte> index_;
  std::vector<std::byte> footer_;
  std::uint64_t size_bytes_ = 0;
  bool has_failed_ = false;
};

}  // namespace lamina::remote
