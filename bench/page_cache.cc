#include "page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "sys/file.h"

namespace lamina::bench {

Result<std::uint64_t> cached_bytes_of(int fd, std::uint64_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return system_failure("mmap", "a file", errno);
  std::vector<unsigned char> pages(blocks_for(bytes));
  const int failed = ::mincore(memory, bytes, pages.data());
  ::munmap(memory, bytes);
  if (failed != 0) return system_failure("mincore", "a file", errno);
  std::uint64_t count = 0;
  for (const unsigned char page : pages) count += page & 1U;
  return count * kBlockBytes;
}

Status drop_cached(int fd, std::uint64_t bytes) {
  LAMINA_RETURN_IF_ERROR(sys::sync(fd, "a file"));
  const int error = ::posix_fadvise(fd, 0, static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
  return error == 0 ? Status{} : system_failure("posix_fadvise", "a file", error);
}

}  // namespace lamina::bench
