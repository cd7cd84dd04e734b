#include "os/sparse_file.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"

namespace lamina::os {
namespace {

/// Extents per call, 56 KiB: a diff of 1 GiB with scattered dirty pages takes eight calls, and
/// larger arrays are not faster.
constexpr std::uint32_t kExtentsPerCall = 1024;

/// The kernel's struct fiemap, which ends with a flexible array.
struct FiemapCall {
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  std::uint32_t flags = FIEMAP_FLAG_SYNC;
  std::uint32_t mapped_extents = 0;
  std::uint32_t extent_count = kExtentsPerCall;
  std::uint32_t reserved = 0;
  std::array<fiemap_extent, kExtentsPerCall> extents{};
};
static_assert(offsetof(FiemapCall, extents) == 32, "as struct fiemap");
static_assert(FS_IOC_FIEMAP == 0xC020660B, "the size in the number is that of the head alone");

constexpr std::uint32_t kXfsMagic = 0x58465342;  // not in linux/magic.h

bool means_no_fiemap(int error) {
  return error == EOPNOTSUPP || error == ENOTTY || error == ENOSYS || error == EINVAL ||
         error == EBADR;
}

/// Appends a range, cut at `size_bytes`, and joins it to the last one if they are adjacent.
void append(std::vector<ByteRange>& runs, std::uint64_t start, std::uint64_t end,
            std::uint64_t size_bytes) {
  end = std::min(end, size_bytes);
  if (start >= end) return;
  if (!runs.empty() && runs.back().end() == start) {
    runs.back().length += end - start;
  } else {
    runs.push_back({start, end - start});
  }
}

/// The result of FIEMAP: written and preallocated storage.
struct Layout {
  std::vector<ByteRange> written;
  std::vector<ByteRange> preallocated;
};

/// nullopt if the file system does not support FIEMAP.
Result<std::optional<Layout>> read_layout(int fd, std::uint64_t size_bytes,
                                          const std::string& object) {
  const auto call = std::make_unique<FiemapCall>();
  Layout layout;
  for (std::uint64_t position = 0; position < size_bytes;) {
    call->start = position;
    call->length = size_bytes - position;
    call->mapped_extents = 0;
    if (::ioctl(fd, FS_IOC_FIEMAP, call.get()) != 0) {
      if (errno == EINTR) continue;
      if (position == 0 && means_no_fiemap(errno)) return std::nullopt;
      return system_failure("read the extents of", object, errno);
    }
    const std::uint32_t count = std::min(call->mapped_extents, kExtentsPerCall);
    if (count == 0) break;  // only a hole is left
    for (std::uint32_t i = 0; i < count; ++i) {
      const fiemap_extent& extent = call->extents[i];
      const std::uint64_t end = extent.fe_logical + extent.fe_length;
      // If the file changes meanwhile, this must not loop forever.
      if (end <= position || end < extent.fe_logical) {
        return fail(ErrorKind::kFailed, "'{}' changed while its extents were read", object);
      }
      const bool is_written = (extent.fe_flags & FIEMAP_EXTENT_UNWRITTEN) == 0;
      append(is_written ? layout.written : layout.preallocated,
             std::max<std::uint64_t>(extent.fe_logical, position), end, size_bytes);
      position = end;
    }
    if ((call->extents[count - 1].fe_flags & FIEMAP_EXTENT_LAST) != 0) break;
  }
  return layout;
}

/// The data ranges according to SEEK_DATA and SEEK_HOLE.
Result<std::vector<ByteRange>> seek_data(int fd, std::uint64_t size_bytes,
                                         const std::string& object) {
  std::vector<ByteRange> extents;
  std::uint64_t position = 0;
  while (position < size_bytes) {
    const off_t data = ::lseek(fd, static_cast<off_t>(position), SEEK_DATA);
    if (data < 0) {
      if (errno == ENXIO) break;  // only a hole is left
      if (errno == EINVAL && position == 0) return std::vector{ByteRange{0, size_bytes}};
      return system_failure("seek data", object, errno);
    }
    const auto start = static_cast<std::uint64_t>(data);
    if (start >= size_bytes) break;
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return system_failure("seek hole", object, errno);
    const std::uint64_t end = std::min(static_cast<std::uint64_t>(hole), size_bytes);
    // If the file shrinks meanwhile, end <= start is possible and must not loop forever.
    if (end <= start) {
      return fail(ErrorKind::kFailed, "'{}' changed while its holes were read", object);
    }
    append(extents, start, end, size_bytes);
    position = end;
  }
  return extents;
}

/// True if the file is on a file system of one of these kinds.
bool is_on(int fd, std::initializer_list<std::uint32_t> kinds) {
  struct statfs system{};
  if (::fstatfs(fd, &system) != 0) return false;
  const auto kind = static_cast<std::uint32_t>(system.f_type);
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

/// True for file systems whose FIEMAP is known to list all data once it is written back. On others
/// SEEK_DATA is used too, which is slower but does not miss data.
bool lists_all_data(int fd) { return is_on(fd, {EXT4_SUPER_MAGIC, kXfsMagic, BTRFS_SUPER_MAGIC}); }

/// Storage of the ranges if it is allocated in whole pages.
std::uint64_t storage_of(const std::vector<ByteRange>& runs) {
  std::uint64_t blocks = 0;
  for (const ByteRange& run : runs) {
    blocks += blocks_for(run.end()) - run.offset / kBlockBytes;
  }
  return blocks * kBlockBytes;
}

/// `runs` minus `holes`; both are in order.
std::vector<ByteRange> without(const std::vector<ByteRange>& runs,
                               const std::vector<ByteRange>& holes) {
  std::vector<ByteRange> left;
  auto hole = holes.begin();
  for (const ByteRange& run : runs) {
    std::uint64_t start = run.offset;
    const std::uint64_t end = run.end();
    while (hole != holes.end() && hole->end() <= start) ++hole;
    for (auto inside = hole; inside != holes.end() && inside->offset < end; ++inside) {
      append(left, start, inside->offset, end);
      start = std::max(start, inside->end());
    }
    append(left, start, end, end);
  }
  return left;
}

/// Storage that was never written reads as zeros. If cached pages of it are not zero, they were
/// written but could not be written back. The file system reports such storage as unwritten
/// forever, so zeros that were written cannot be distinguished from it.
Status refuse_lost_writes(int fd, const std::vector<ByteRange>& unwritten,
                          const std::string& object) {
  constexpr std::uint64_t kBufferBytes = std::uint64_t{256} << 10;
  std::vector<std::byte> buffer(kBufferBytes);
  for (const ByteRange& extent : unwritten) {
    for (std::uint64_t done = 0; done < extent.length;) {
      const auto part = std::span(buffer).first(std::min(kBufferBytes, extent.length - done));
      LAMINA_ASSIGN_OR_RETURN(const std::size_t count,
                              read_at(fd, part, extent.offset + done, object));
      if (count == 0) break;
      const auto read = part.first(count);
      if (std::any_of(read.begin(), read.end(),
                      [](std::byte value) { return value != std::byte{0}; })) {
        return fail(ErrorKind::kFailed,
                    "'{}' has cached data that could not be written to the disk, so part of it may "
                    "be lost; have the VMM write the memory again",
                    object);
      }
      done += count;
    }
  }
  return {};
}

}  // namespace

Result<FileMap> map_file(int fd, std::uint64_t size_bytes, const std::string& object) {
  FileMap map;
  LAMINA_ASSIGN_OR_RETURN(std::optional<Layout> layout, read_layout(fd, size_bytes, object));
  if (!layout) {
    LAMINA_ASSIGN_OR_RETURN(map.written, seek_data(fd, size_bytes, object));
    map.preallocated_is_known = is_on(fd, {TMPFS_MAGIC});
    if (map.preallocated_is_known) {
      LAMINA_ASSIGN_OR_RETURN(const FileFacts facts, facts_of(fd, object));
      map.has_preallocated = facts.allocated_bytes > storage_of(map.written);
    }
    return map;
  }
  map.distinguishes_preallocated = true;
  map.preallocated_is_known = true;
  map.has_preallocated = !layout->preallocated.empty();
  if (map.has_preallocated) {
    // SEEK_DATA reports the cached part of it; only that is read.
    LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> readable,
                            seek_data(fd, size_bytes, object));
    LAMINA_RETURN_IF_ERROR(
        refuse_lost_writes(fd, without(readable, without(readable, layout->preallocated)), object));
  }
  if (lists_all_data(fd)) {
    map.written = std::move(layout->written);
    return map;
  }
  LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> data, seek_data(fd, size_bytes, object));
  map.written = without(data, layout->preallocated);
  return map;
}

Result<std::vector<ByteRange>> written_ranges(int fd, std::uint64_t size_bytes,
                                              const std::string& object) {
  LAMINA_ASSIGN_OR_RETURN(FileMap map, map_file(fd, size_bytes, object));
  return std::move(map.written);
}

Result<bool> is_stored(int fd, std::uint64_t offset, std::uint64_t end, const std::string& object) {
  const off_t hole = ::lseek(fd, static_cast<off_t>(offset), SEEK_HOLE);
  if (hole >= 0) return static_cast<std::uint64_t>(hole) >= end;
  if (errno == EINVAL) return true;  // the file system does not support holes
  if (errno == ENXIO) return false;  // the file ends before `offset`
  return system_failure("seek hole", object, errno);
}

}  // namespace lamina::os
