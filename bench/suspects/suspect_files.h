// Files and places that the storage suspects share.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench.h"
#include "guest_memory.h"
#include "lamina/result.h"
#include "loop_image.h"
#include "os/fd.h"

namespace lamina::bench {

/// A directory on some file system.
struct Place {
  std::string name;  ///< "here" or the file system's
  std::string directory;
};

/// Calls `use` with a directory on a loop image of its own, which goes afterwards. Where images
/// cannot be mounted, `name` is skipped.
Status with_loop_image(Bench& bench, const std::string& name, FileSystem kind, std::uint64_t bytes,
                       const std::function<Status(const Place&)>& use);

/// Calls `use` with a directory below the benchmarks' own, which goes afterwards.
Status with_own_directory(Bench& bench, const std::function<Status(const Place&)>& use);

/// Calls `use` with the benchmarks' own directory, then with ext4 and xfs on loop images, each
/// where the filter wants `name`/ and its name.
Status with_each_place(Bench& bench, const std::string& name, std::uint64_t image_bytes,
                       const std::function<Status(const Place&)>& use);

/// A file mapped for reading, shared.
class FileMapping {
 public:
  static Result<FileMapping> create(int fd, std::size_t bytes);
  FileMapping(FileMapping&& other) noexcept;
  FileMapping& operator=(FileMapping&&) = delete;
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;
  ~FileMapping();

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  Status advise(std::size_t offset, std::size_t length, int advice, std::string_view name) const;

 private:
  explicit FileMapping(std::span<std::byte> bytes) : bytes_(bytes) {}

  std::span<std::byte> bytes_;
};

/// Layers of one size, full of data that differs from layer to layer.
class LayerFiles {
 public:
  /// Makes `count` files of `blocks` each in `directory`.
  static Result<LayerFiles> create(const std::string& directory, std::uint32_t count,
                                   std::uint32_t blocks);

  [[nodiscard]] std::size_t count() const { return files_.size(); }
  [[nodiscard]] std::uint32_t blocks() const { return blocks_; }
  [[nodiscard]] int fd(std::size_t layer) const { return files_[layer].get(); }
  /// Syncs the layers and drops them from the page cache.
  [[nodiscard]] Status make_cold() const;
  /// Fails unless `bytes` are the blocks of `layer` from `block` on.
  [[nodiscard]] Status check(std::size_t layer, std::uint32_t block,
                             std::span<const std::byte> bytes) const;

 private:
  explicit LayerFiles(std::uint32_t blocks) : blocks_(blocks) {}

  std::uint32_t blocks_;
  std::vector<os::Fd> files_;
  std::vector<GuestMemory> contents_;
};

/// Makes `path`, which must not exist, open for reading and writing.
Result<os::Fd> create_file(const std::string& path);
Result<os::Fd> open_file(const std::string& path, int flags);

/// Syncs the file at `path` and drops it from the page cache.
Status make_cold(const std::string& path);

/// Writes out all that is dirty on the file system of `directory`.
Status settle(const std::string& directory);

/// The extents that a file lies in, as FIEMAP counts them.
Result<std::uint64_t> count_extents(int fd);

/// "12.0 MiB in 7 extents": what a file has allocated and how it lies.
Result<std::string> describe_storage(const std::string& path);

}  // namespace lamina::bench
