#include "os/page_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "os/kernel_definitions.h"

namespace lamina::os {

std::optional<std::uint64_t> cached_bytes(int fd) {
  CachestatRange whole{};  // length 0: to the end
  Cachestat found{};
  if (::syscall(kCachestatNumber, fd, &whole, &found, 0) != 0) return std::nullopt;
  return found.cached_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void disable_readahead(int fd) { ::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); }

void read_ahead(int fd, std::uint64_t offset, std::uint64_t length) {
  ::posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(length), POSIX_FADV_WILLNEED);
}

void start_writeback(int fd, std::uint64_t offset, std::uint64_t length) {
  ::sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(length),
                    SYNC_FILE_RANGE_WRITE);
}

Status write_back_and_drop(int fd, std::uint64_t offset, std::uint64_t length,
                           const std::string& object) {
  if (length == 0) return {};  // the kernel would take 0 as "to the end"
  const int done = ::sync_file_range(
      fd, static_cast<off_t>(offset), static_cast<off_t>(length),
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  // If the file system does not support the call, no data is lost.
  if (done != 0 && errno != ENOSYS && errno != EINVAL && errno != ESPIPE && errno != EINTR) {
    return system_failure("write back", object, errno);
  }
  drop_cached(fd, offset, length);
  return {};
}

void drop_cached(int fd, std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return;  // the kernel would take 0 as "to the end"
  ::posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(length), POSIX_FADV_DONTNEED);
}

}  // namespace lamina::os
