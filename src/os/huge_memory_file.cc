#include "os/huge_memory_file.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <bit>
#include <cerrno>

#include "base/error.h"

namespace lamina::os {

Result<Fd> make_huge_memory_file(const char* name, std::uint64_t& page_bytes) {
  unsigned flags = MFD_CLOEXEC | MFD_HUGETLB;
  if (page_bytes != 0)
    flags |= static_cast<unsigned>(std::countr_zero(page_bytes))
             << static_cast<unsigned>(MAP_HUGE_SHIFT);
  const int fd = ::memfd_create(name, flags);
  if (fd < 0 && (errno == ENODEV || errno == EINVAL || errno == ENOSYS || errno == ENOENT)) {
    return fail(ErrorKind::kUnsupported, "this host has no huge pages{}",
                page_bytes == 0 ? "" : fmt::format(" of {} bytes", page_bytes));
  }
  if (fd < 0) return system_failure("memfd_create", name, errno);
  Fd file(fd);
  struct stat facts{};
  if (::fstat(fd, &facts) != 0) return system_failure("stat", name, errno);
  page_bytes = static_cast<std::uint64_t>(facts.st_blksize);
  return file;
}

}  // namespace lamina::os
