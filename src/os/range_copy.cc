#include "os/range_copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <vector>

#include "base/error.h"
#include "os/file.h"
#include "os/sparse_file.h"

namespace lamina::os {
namespace {

constexpr std::uint64_t kMaxKernelCopyBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kProgressBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kBufferBytes = std::uint64_t{1} << 20;

/// Errors that mean that these files do not support the operation.
bool means_unsupported(int error_number) {
  switch (error_number) {
    case EOPNOTSUPP:
    case EXDEV:
    case EINVAL:
    case ENOTTY:
    case ENOSYS:
    case ETXTBSY:
    case EPERM:
      return true;
    default:
      return false;
  }
}

Status read_write_range(int source, int destination, std::uint64_t offset, std::uint64_t length,
                        const std::string& source_object, const std::string& destination_object) {
  std::vector<std::byte> buffer(std::min(length, kBufferBytes));
  for (std::uint64_t done = 0; done < length;) {
    const auto part = std::span(buffer).first(std::min(length - done, kBufferBytes));
    LAMINA_RETURN_IF_ERROR(read_exactly_at(source, part, offset + done, source_object));
    LAMINA_RETURN_IF_ERROR(write_at(destination, part, offset + done, destination_object));
    done += part.size();
  }
  return {};
}

}  // namespace

Result<bool> clone_range(int source, std::uint64_t source_offset, int destination,
                         std::uint64_t destination_offset, std::uint64_t length,
                         const std::string& destination_object) {
  file_clone_range range{};
  range.src_fd = source;
  range.src_offset = source_offset;
  range.src_length = length;
  range.dest_offset = destination_offset;
  while (::ioctl(destination, FICLONERANGE, &range) != 0) {
    if (errno == EINTR) continue;
    if (means_unsupported(errno)) return false;
    return system_failure("clone into", destination_object, errno);
  }
  return true;
}

Result<bool> kernel_copy_range(int source, std::uint64_t source_offset, int destination,
                               std::uint64_t destination_offset, std::uint64_t length,
                               const std::string& source_object,
                               const std::string& destination_object) {
  auto from = static_cast<off64_t>(source_offset);
  auto to = static_cast<off64_t>(destination_offset);
  for (std::uint64_t done = 0; done < length;) {
    const ssize_t count = ::copy_file_range(source, &from, destination, &to,
                                            std::min(length - done, kMaxKernelCopyBytes), 0);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (done == 0 && means_unsupported(errno)) return false;
      return system_failure("copy into", destination_object, errno);
    }
    if (count == 0) {
      return fail(ErrorKind::kCorrupt, "'{}' ends at {:#x}, before {:#x}: it is truncated",
                  source_object, source_offset + done, source_offset + length);
    }
    done += static_cast<std::uint64_t>(count);
  }
  return true;
}

Status copy_file(int source, int destination, std::uint64_t size_bytes,
                 const std::string& source_object, const std::string& destination_object,
                 Progress* progress) {
  if (::ioctl(destination, FICLONE, source) == 0) return {};
  LAMINA_RETURN_IF_ERROR(truncate(destination, size_bytes, destination_object));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> extents,
                          written_ranges(source, size_bytes, source_object));
  if (progress != nullptr) progress->begin("copying a file", size_bytes);
  for (const ByteRange& extent : extents) {
    for (std::uint64_t done = 0; done < extent.length;) {
      if (progress != nullptr && progress->interrupted()) {
        return fail(ErrorKind::kInterrupted, "interrupted");
      }
      const std::uint64_t offset = extent.offset + done;
      const std::uint64_t length = std::min(extent.length - done, kProgressBytes);
      LAMINA_ASSIGN_OR_RETURN(const bool copied,
                              kernel_copy_range(source, offset, destination, offset, length,
                                                source_object, destination_object));
      if (!copied) {
        LAMINA_RETURN_IF_ERROR(read_write_range(source, destination, offset, length, source_object,
                                                destination_object));
      }
      if (progress != nullptr) progress->advance(length);
      done += length;
    }
  }
  return {};
}

Status copy_through_memory(int source, int destination, std::uint64_t size_bytes,
                           const std::string& source_object,
                           const std::string& destination_object) {
  LAMINA_RETURN_IF_ERROR(truncate(destination, size_bytes, destination_object));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> extents,
                          written_ranges(source, size_bytes, source_object));
  for (const ByteRange& extent : extents) {
    LAMINA_RETURN_IF_ERROR(read_write_range(source, destination, extent.offset, extent.length,
                                            source_object, destination_object));
  }
  return {};
}

Result<Fd> copy_to_new_file(int source, std::uint64_t size_bytes, const std::string& source_object,
                            int directory, const std::string& name, const std::string& object,
                            Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(Fd copy, open_at(directory, name, O_RDWR | O_CREAT | O_EXCL, object));
  LAMINA_RETURN_IF_ERROR(
      copy_file(source, copy.get(), size_bytes, source_object, object, progress));
  return copy;
}

}  // namespace lamina::os
