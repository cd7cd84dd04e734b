#include "recorded_guest.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"
#include "os/sparse_file.h"

namespace lamina::bench {
namespace {

Result<std::vector<std::string>> find_files(const std::string& directory) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".mem") paths.push_back(entry.path().string());
  }
  if (error) return fail(ErrorKind::kFailed, "read '{}': {}", directory, error.message());
  if (paths.size() < 2) {
    return fail(ErrorKind::kUsage,
                "'{}' has no two files *.mem; make them with: tests/guest/guest_run.py --keep",
                directory);
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// The runs of data that a file holds; those of zeros are of version 0.
Result<std::vector<DirtyRun>> read_runs(int fd, std::uint64_t bytes, std::uint32_t version,
                                        const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const auto extents, os::written_ranges(fd, bytes, path));
  std::vector<DirtyRun> runs;
  std::vector<std::byte> block(kBlockBytes);
  for (const ByteRange& extent : extents) {
    const std::uint64_t end = extent.offset + extent.length;
    for (std::uint64_t at = extent.offset / kBlockBytes * kBlockBytes; at < end;
         at += kBlockBytes) {
      LAMINA_RETURN_IF_ERROR(os::read_exactly_at(fd, block, at, path));
      const bool is_zero = std::all_of(block.begin(), block.end(),
                                       [](std::byte byte) { return byte == std::byte{0}; });
      const std::uint32_t its = is_zero ? 0 : version;
      const auto index = static_cast<std::uint32_t>(at / kBlockBytes);
      DirtyRun* last = runs.empty() ? nullptr : &runs.back();
      if (last != nullptr && last->block + last->block_count == index && last->version == its) {
        ++last->block_count;
      } else {
        runs.push_back({index, 1, its});
      }
    }
  }
  return runs;
}

}  // namespace

Result<RecordedGuest> open_recorded_guest(const std::string& directory) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> paths, find_files(directory));
  const auto files = std::make_shared<std::vector<os::Fd>>();
  std::vector<std::vector<DirtyRun>> pauses;
  std::uint64_t bytes = 0;
  for (const std::string& path : paths) {
    LAMINA_ASSIGN_OR_RETURN(os::OpenedFile opened,
                            os::open_regular(AT_FDCWD, path, O_RDONLY, path));
    if (pauses.empty()) bytes = opened.facts.size_bytes;
    if (opened.facts.size_bytes != bytes || bytes % kBlockBytes != 0) {
      return fail(ErrorKind::kUsage, "'{}' has {} bytes, '{}' has {}", path,
                  opened.facts.size_bytes, paths.front(), bytes);
    }
    const auto version = static_cast<std::uint32_t>(pauses.size() + 1);
    LAMINA_ASSIGN_OR_RETURN(auto runs, read_runs(opened.fd.get(), bytes, version, path));
    pauses.push_back(std::move(runs));
    files->push_back(std::move(opened.fd));
  }
  GuestMemory first(
      std::vector<std::uint32_t>(bytes / kBlockBytes, 0),
      [files](std::uint32_t index, std::uint32_t version, std::span<std::byte> block) {
        const int fd = (*files)[version - 1].get();
        if (!os::read_exactly_at(fd, block, index * kBlockBytes, "pause")) std::abort();
      });
  first.apply(pauses.front(), WrittenZeros::kClear);
  pauses.erase(pauses.begin());
  return RecordedGuest{std::move(first), std::move(pauses)};
}

}  // namespace lamina::bench
