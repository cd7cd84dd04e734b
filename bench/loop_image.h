#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"

namespace lamina::bench {

/// An xfs file system with reflink in an image file, mounted while this object lives.
class LoopImage {
 public:
  /// Makes `image` of `bytes` and mounts it on the new directory `mount_point`. Needs root,
  /// mkfs.xfs and a loop device: any failure means "not here".
  static Result<LoopImage> create(const std::string& image, const std::string& mount_point,
                                  std::uint64_t bytes);

  LoopImage(LoopImage&& other) noexcept;
  LoopImage& operator=(LoopImage&&) = delete;
  LoopImage(const LoopImage&) = delete;
  LoopImage& operator=(const LoopImage&) = delete;
  /// Unmounts; the image file is left to whoever owns its directory.
  ~LoopImage();

  [[nodiscard]] const std::string& mount_point() const { return mount_point_; }

 private:
  explicit LoopImage(std::string mount_point) : mount_point_(std::move(mount_point)) {}

  std::string mount_point_;
};

}  // namespace lamina::bench
