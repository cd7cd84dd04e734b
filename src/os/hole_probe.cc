#include "os/hole_probe.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <string_view>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "lamina/uuid.h"
#include "os/overlay.h"
#include "os/sparse_file.h"

namespace lamina::os {
namespace {

// Odd pages, so that a granularity of two pages or more is detected.
constexpr std::uint64_t kDataBlock = 1;
/// The preallocated range is short, because ext4 without dioread_nolock zeroes short ranges.
constexpr std::uint64_t kPreallocatedStart = 3;
constexpr std::uint64_t kPreallocatedEnd = 7;
constexpr std::uint64_t kWrittenPreallocated = 5;
/// Blocks that are read around a written page.
constexpr std::uint64_t kReadBlocks = 8;
/// Minimum size of the probe file; for a smaller file the result is the same or stricter.
constexpr std::uint64_t kMinBlocks = 16;

/// In an overlay whose layers are on several file systems, the upper bits of a file's inode number
/// identify its file system (xino), unless the device number does. There are at most 500 layers, so
/// bit 55 is the lowest that can be used for this.
constexpr unsigned kOverlayLayerShift = 55;

constexpr std::string_view kProbePrefix = ".lamina-probe-";

/// Creates an unnamed file in `directory`; without O_TMPFILE, creates a file and unlinks it.
Result<Fd> open_unnamed(int directory, const std::string& object) {
  auto unnamed = open_at(directory, ".", O_TMPFILE | O_RDWR, object);
  if (unnamed) return unnamed;
  const std::string name = std::string(kProbePrefix) + Uuid::random().to_string();
  LAMINA_ASSIGN_OR_RETURN(Fd named, open_at(directory, name, O_RDWR | O_CREAT | O_EXCL, object));
  // Another process may have removed it as a leftover of a power failure.
  if (::unlinkat(directory, name.c_str(), 0) != 0 && errno != ENOENT) {
    return system_failure("unlink", object, errno);
  }
  return named;
}

/// Calls fallocate(2), because posix_fallocate(3) writes zeros if it is not supported. Returns
/// false then.
Result<bool> preallocate(int fd, const std::string& object) {
  // Twice, because tmpfs reports it as data after the second call.
  for (int done = 0; done < 2;) {
    if (::fallocate(fd, 0, kPreallocatedStart * kBlockBytes,
                    (kPreallocatedEnd - kPreallocatedStart) * kBlockBytes) == 0) {
      ++done;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) return false;
    return system_failure("allocate", object, errno);
  }
  return true;
}

/// Reads the pages around `block` into the page cache.
Status read_around(int fd, std::uint64_t block, const std::string& object) {
  std::vector<std::byte> buffer(kReadBlocks * kBlockBytes);
  const std::uint64_t start = block - std::min(block, kReadBlocks / 2);
  LAMINA_RETURN_IF_ERROR(read_at(fd, buffer, start * kBlockBytes, object));
  return {};
}

/// The reported ranges outside and inside the preallocated range, cut at its ends.
struct Found {
  std::vector<ByteRange> plain;
  std::vector<ByteRange> preallocated;
};

Found split(const std::vector<ByteRange>& runs) {
  constexpr std::uint64_t kStart = kPreallocatedStart * kBlockBytes;
  constexpr std::uint64_t kEnd = kPreallocatedEnd * kBlockBytes;
  Found found;
  const auto add = [](std::vector<ByteRange>& to, std::uint64_t start, std::uint64_t end) {
    if (start < end) to.push_back({start, end - start});
  };
  for (const ByteRange& run : runs) {
    const std::uint64_t end = run.end();
    add(found.plain, run.offset, std::min(end, kStart));
    add(found.preallocated, std::max(run.offset, kStart), std::min(end, kEnd));
    add(found.plain, std::max(run.offset, kEnd), end);
  }
  return found;
}

}  // namespace

bool HoleProbe::applies_to(const FileFacts& file) const {
  if (file.device != probed.device || file.mount != probed.mount) return false;
  return !is_overlay || ((file.inode ^ probed.inode) >> kOverlayLayerShift) == 0;
}

bool is_hole_probe(std::string_view name) { return name.starts_with(kProbePrefix); }

Result<HoleProbe> probe_holes(int directory, std::uint64_t size_bytes, const std::string& object) {
  LAMINA_ASSIGN_OR_RETURN(const Fd fd, open_unnamed(directory, object));
  const std::uint64_t blocks = std::max(blocks_for(size_bytes), kMinBlocks);
  // Not adjacent to the other pages.
  const std::uint64_t zero_block = (blocks / 2) | 1;
  LAMINA_RETURN_IF_ERROR(truncate(fd.get(), blocks * kBlockBytes, object));
  alignas(kBlockBytes) std::array<std::byte, kBlockBytes> block{};
  LAMINA_RETURN_IF_ERROR(write_at(fd.get(), block, zero_block * kBlockBytes, object));
  block.fill(std::byte{0x5a});
  LAMINA_RETURN_IF_ERROR(write_at(fd.get(), block, kDataBlock * kBlockBytes, object));
  LAMINA_ASSIGN_OR_RETURN(const bool can_preallocate, preallocate(fd.get(), object));
  LAMINA_RETURN_IF_ERROR(write_at(fd.get(), block, kWrittenPreallocated * kBlockBytes, object));
  LAMINA_RETURN_IF_ERROR(sync(fd.get(), object));
  LAMINA_RETURN_IF_ERROR(read_around(fd.get(), kDataBlock, object));
  LAMINA_RETURN_IF_ERROR(read_around(fd.get(), zero_block, object));

  HoleProbe probe;
  LAMINA_ASSIGN_OR_RETURN(probe.probed, facts_of(fd.get(), object));
  probe.is_overlay = is_in_overlay(fd.get());
  LAMINA_ASSIGN_OR_RETURN(const FileMap map, map_file(fd.get(), blocks * kBlockBytes, object));
  probe.distinguishes_preallocated = map.distinguishes_preallocated;
  const Found found = split(map.written);
  const std::vector<ByteRange> plain = {{kDataBlock * kBlockBytes, kBlockBytes},
                                        {zero_block * kBlockBytes, kBlockBytes}};
  const std::vector<ByteRange> preallocated = {{kWrittenPreallocated * kBlockBytes, kBlockBytes}};
  probe.is_exact = found.plain == plain;
  // Without fallocate() that page is an ordinary one.
  if (!can_preallocate) probe.is_exact = probe.is_exact && found.preallocated == preallocated;
  probe.is_exact_when_preallocated = probe.is_exact && found.preallocated == preallocated;
  if (!probe.is_exact) {
    std::uint64_t data_bytes = 0;
    for (const ByteRange& extent : map.written) data_bytes += extent.length;
    probe.explanation = fmt::format("of {} bytes, {} were written, but {} are reported as data",
                                    blocks * kBlockBytes, 3 * kBlockBytes, data_bytes);
  }
  return probe;
}

}  // namespace lamina::os
