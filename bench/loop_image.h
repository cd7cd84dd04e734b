#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"

namespace lamina::bench {

enum class FileSystem : std::uint8_t { kXfs, kExt4 };

/// A file system in an image file (by default xfs with reflink), mounted while this object lives.
class LoopImage {
 public:
  /// Makes `image` of `bytes` and mounts it on the new directory `mount_point`. Needs root, the
  /// file system's mkfs and a loop device: any failure means "not here".
  static Result<LoopImage> create(const std::string& image, const std::string& mount_point,
                                  std::uint64_t bytes, FileSystem kind = FileSystem::kXfs);

  LoopImage(LoopImage&& other) noexcept;
  LoopImage& operator=(LoopImage&&) = delete;
  LoopImage(const LoopImage&) = delete;
  LoopImage& operator=(const LoopImage&) = delete;
  /// Unmounts; the image file is left to whoever owns its directory.
  ~LoopImage();

  /// Makes the loop device go past the page cache of the image's file system, where that can: then
  /// what the mounted file system drops from its cache is cold.
  [[nodiscard]] Status use_direct_io() const;

  [[nodiscard]] const std::string& mount_point() const { return mount_point_; }

 private:
  explicit LoopImage(std::string mount_point) : mount_point_(std::move(mount_point)) {}

  std::string mount_point_;
};

}  // namespace lamina::bench
