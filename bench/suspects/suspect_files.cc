#include "suspect_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "file_cache.h"
#include "os/file.h"

namespace lamina::bench {

Status with_loop_image(Bench& bench, const std::string& name, FileSystem kind, std::uint64_t bytes,
                       const std::function<Status(const Place&)>& use) {
  const std::string kind_name = kind == FileSystem::kXfs ? "xfs" : "ext4";
  const std::string mount_point = bench.directory() + "/suspect-" + kind_name;
  const std::string image_file = mount_point + ".image";
  Status used;
  {
    const auto image = LoopImage::create(image_file, mount_point, bytes, kind);
    if (image) {
      const Status direct = image->use_direct_io();
      if (!direct) fmt::print(stderr, "{}: {}\n", name, direct.error().message);
      used = use({kind_name, mount_point});
    } else {
      bench.skip(name, image.error().message);
    }
  }
  LAMINA_RETURN_IF_ERROR(used);
  LAMINA_RETURN_IF_ERROR(remove_all(image_file));
  return remove_all(mount_point);
}

Status with_own_directory(Bench& bench, const std::function<Status(const Place&)>& use) {
  const std::string directory = bench.directory() + "/suspect-here";
  std::filesystem::create_directory(directory);
  LAMINA_RETURN_IF_ERROR(use({"here", directory}));
  return remove_all(directory);
}

Status with_each_place(Bench& bench, const std::string& name, std::uint64_t image_bytes,
                       const std::function<Status(const Place&)>& use) {
  if (bench.wants(name + "/here")) {
    LAMINA_RETURN_IF_ERROR(with_own_directory(bench, use));
  }
  for (const auto& [kind, kind_name] :
       {std::pair{FileSystem::kExt4, "ext4"}, std::pair{FileSystem::kXfs, "xfs"}}) {
    const std::string full_name = fmt::format("{}/{}", name, kind_name);
    if (!bench.wants(full_name)) continue;
    LAMINA_RETURN_IF_ERROR(with_loop_image(bench, full_name, kind, image_bytes, use));
  }
  return {};
}

Result<FileMapping> FileMapping::create(int fd, std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return system_failure("mmap", "a file", errno);
  return FileMapping(std::span(static_cast<std::byte*>(memory), bytes));
}

FileMapping::FileMapping(FileMapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

FileMapping::~FileMapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Status FileMapping::advise(std::size_t offset, std::size_t length, int advice,
                           std::string_view name) const {
  const auto part = bytes_.subspan(offset, length);
  if (::madvise(part.data(), part.size(), advice) != 0)
    return system_failure("madvise", name, errno);
  return {};
}

Result<LayerFiles> LayerFiles::create(const std::string& directory, std::uint32_t count,
                                      std::uint32_t blocks) {
  constexpr std::uint32_t kRunBlocks = 256;
  LayerFiles layers(blocks);
  for (std::uint32_t i = 0; i < count; ++i) {
    std::vector<DirtyRun> runs;
    for (std::uint32_t block = 0; block < blocks; block += kRunBlocks) {
      runs.push_back({block, std::min(kRunBlocks, blocks - block), i + 1});
    }
    const std::string path = fmt::format("{}/layer-{}", directory, i);
    LAMINA_RETURN_IF_ERROR(write_diff_file(path, blocks, runs));
    LAMINA_ASSIGN_OR_RETURN(os::Fd file, open_file(path, O_RDONLY));
    layers.files_.push_back(std::move(file));
    layers.contents_.push_back(GuestMemory::zeros(blocks));
    layers.contents_.back().apply(runs, WrittenZeros::kClear);
  }
  return layers;
}

Status LayerFiles::make_cold() const {
  for (const os::Fd& file : files_) {
    LAMINA_RETURN_IF_ERROR(drop_cached(file.get(), blocks_ * kBlockBytes));
  }
  return {};
}

Status LayerFiles::check(std::size_t layer, std::uint32_t block,
                         std::span<const std::byte> bytes) const {
  for (std::size_t offset = 0; offset < bytes.size(); offset += kBlockBytes, ++block) {
    if (!contents_[layer].matches(block, bytes.subspan(offset, kBlockBytes))) {
      return fail(ErrorKind::kCorrupt, "block {} of layer {} is wrong", block, layer);
    }
  }
  return {};
}

Result<os::Fd> create_file(const std::string& path) {
  return os::open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, path);
}

Result<os::Fd> open_file(const std::string& path, int flags) {
  return os::open_at(AT_FDCWD, path, flags, path);
}

Status make_cold(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  return drop_cached(file.fd.get(), file.facts.size_bytes);
}

Status settle(const std::string& directory) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd fd, open_file(directory, O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) return system_failure("syncfs", directory, errno);
  return {};
}

Result<std::uint64_t> count_extents(int fd) {
  fiemap map{};
  map.fm_length = FIEMAP_MAX_OFFSET;
  map.fm_flags = FIEMAP_FLAG_SYNC;
  if (::ioctl(fd, FS_IOC_FIEMAP, &map) != 0) return system_failure("FIEMAP", "a file", errno);
  return map.fm_mapped_extents;
}

Result<std::string> describe_storage(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t extents, count_extents(file.fd.get()));
  constexpr double kMebi = 1 << 20;
  return fmt::format("{:.1f} MiB in {} extents",
                     static_cast<double>(file.facts.allocated_bytes) / kMebi, extents);
}

}  // namespace lamina::bench
