#include "sys/sparse_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>

#include "base/block.h"
#include "base/error.h"
#include "lamina/uuid.h"
#include "sys/file.h"

namespace lamina::sys {
namespace {

/// Creates a file without a name in `directory`; where O_TMPFILE is unknown, one that is unlinked
/// at once.
Result<Fd> open_unnamed(int directory, const std::string& object) {
  auto unnamed = open_at(directory, ".", O_TMPFILE | O_RDWR, object);
  if (unnamed) return unnamed;
  const std::string name = ".lamina-probe-" + Uuid::random().to_string();
  LAMINA_ASSIGN_OR_RETURN(Fd named, open_at(directory, name, O_RDWR | O_CREAT | O_EXCL, object));
  if (::unlinkat(directory, name.c_str(), 0) != 0) return system_failure("unlink", object, errno);
  return named;
}

}  // namespace

Result<std::vector<DataExtent>> data_extents(int fd, std::uint64_t size_bytes,
                                             const std::string& object) {
  std::vector<DataExtent> extents;
  std::uint64_t position = 0;
  while (position < size_bytes) {
    const off_t data = ::lseek(fd, static_cast<off_t>(position), SEEK_DATA);
    if (data < 0) {
      if (errno == ENXIO) break;  // only a hole is left
      if (errno == EINVAL && position == 0) return std::vector{DataExtent{0, size_bytes}};
      return system_failure("seek data", object, errno);
    }
    const auto start = static_cast<std::uint64_t>(data);
    if (start >= size_bytes) break;
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return system_failure("seek hole", object, errno);
    const std::uint64_t end = std::min(static_cast<std::uint64_t>(hole), size_bytes);
    // A file that shrinks meanwhile could answer end <= start; that must not loop for ever.
    if (end <= start) {
      return fail(ErrorKind::kFailed, "'{}' changed while its holes were read", object);
    }
    extents.push_back({start, end - start});
    position = end;
  }
  return extents;
}

Result<bool> is_stored(int fd, std::uint64_t offset, std::uint64_t end, const std::string& object) {
  const off_t hole = ::lseek(fd, static_cast<off_t>(offset), SEEK_HOLE);
  if (hole >= 0) return static_cast<std::uint64_t>(hole) >= end;
  if (errno == EINVAL) return true;  // a file system that knows no holes
  if (errno == ENXIO) return false;  // the file ends before
  return system_failure("seek hole", object, errno);
}

Result<HoleProbe> probe_holes(int directory, std::uint64_t size_bytes, const std::string& object) {
  LAMINA_ASSIGN_OR_RETURN(const Fd fd, open_unnamed(directory, object));
  // Odd pages, so that a granularity of two pages or more shows; apart, where there is room, so
  // that they are not neighbours. A file of fewer than four pages is probed as if it had four: the
  // answer is the same or stricter.
  const std::uint64_t blocks = std::max<std::uint64_t>(blocks_for(size_bytes), 4);
  const std::uint64_t zero_block = (blocks / 2) | 1;
  const std::uint64_t data_block = 1;
  LAMINA_RETURN_IF_ERROR(truncate(fd.get(), blocks * kBlockBytes, object));
  alignas(kBlockBytes) std::array<std::byte, kBlockBytes> block{};
  LAMINA_RETURN_IF_ERROR(write_at(fd.get(), block, zero_block * kBlockBytes, object));
  block.fill(std::byte{0x5a});
  LAMINA_RETURN_IF_ERROR(write_at(fd.get(), block, data_block * kBlockBytes, object));
  LAMINA_RETURN_IF_ERROR(sync(fd.get(), object));

  LAMINA_ASSIGN_OR_RETURN(const std::vector<DataExtent> found,
                          data_extents(fd.get(), blocks * kBlockBytes, object));
  const std::vector<DataExtent> written = {{data_block * kBlockBytes, kBlockBytes},
                                           {zero_block * kBlockBytes, kBlockBytes}};
  HoleProbe probe;
  probe.exact = found == written;
  if (!probe.exact) {
    std::uint64_t data_bytes = 0;
    for (const DataExtent& extent : found) data_bytes += extent.length;
    probe.explanation = fmt::format("of {} bytes, {} were written, and {} are reported as data",
                                    blocks * kBlockBytes, 2 * kBlockBytes, data_bytes);
  }
  return probe;
}

}  // namespace lamina::sys
