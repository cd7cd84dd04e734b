#include "e2b/data_writer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "os/file.h"

namespace lamina::e2b {

DataWriter::DataWriter(os::Fd file, std::string path, Compression compression)
    : file_(std::move(file)), path_(std::move(path)), write_behind_(file_.get()) {
  entry_.compression = compression;
  if (compression != Compression::kNone) encoder_.emplace(compression);
  frame_.reserve(kFrameDataBytes);
}

Status DataWriter::add(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t now = std::min(bytes.size(), kFrameDataBytes - frame_.size());
    frame_.insert(frame_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(now));
    bytes = bytes.subspan(now);
    if (frame_.size() == kFrameDataBytes) LAMINA_RETURN_IF_ERROR(write_frame());
  }
  return {};
}

Status DataWriter::write_frame() {
  digest_.add(frame_);
  std::span<const std::byte> stored = frame_;
  if (encoder_) {
    LAMINA_ASSIGN_OR_RETURN(stored, encoder_->encode(frame_));
    if (entry_.frames.size() == kMaxFrames) {
      return fail(ErrorKind::kFailed, "'{}' would have more than {} frames", path_, kMaxFrames);
    }
    entry_.frames.push_back({entry_.data_bytes, object_bytes_,
                             static_cast<std::uint32_t>(frame_.size()),
                             static_cast<std::uint32_t>(stored.size())});
  }
  LAMINA_RETURN_IF_ERROR(os::write_at(file_.get(), stored, object_bytes_, path_));
  object_bytes_ += stored.size();
  entry_.data_bytes += frame_.size();
  write_behind_.written_until(object_bytes_);
  frame_.clear();
  return {};
}

Status DataWriter::finish() {
  if (!frame_.empty()) LAMINA_RETURN_IF_ERROR(write_frame());
  if (entry_.data_bytes == 0) {
    entry_ = {};
  } else {
    entry_.sha256 = digest_.finish();
  }
  return os::sync(file_.get(), path_);
}

}  // namespace lamina::e2b
