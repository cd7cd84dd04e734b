#include "file_cache.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <filesystem>
#include <functional>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"

namespace lamina::bench {
namespace {

/// Calls `use` with every file below `directory`, opened, and its size.
Status for_each_file(const std::string& directory,
                     const std::function<Status(int, std::uint64_t)>& use) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file() || entry.file_size() == 0) continue;
    const std::string path = entry.path().string();
    LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                            os::open_regular(AT_FDCWD, path, O_RDONLY, path));
    LAMINA_RETURN_IF_ERROR(use(file.fd.get(), file.facts.size_bytes));
  }
  return {};
}

}  // namespace

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

Result<std::uint64_t> cached_bytes(const std::string& directory) {
  std::uint64_t sum = 0;
  LAMINA_RETURN_IF_ERROR(for_each_file(directory, [&](int fd, std::uint64_t bytes) -> Status {
    LAMINA_ASSIGN_OR_RETURN(const std::uint64_t cached, cached_bytes_of(fd, bytes));
    sum += cached;
    return {};
  }));
  return sum;
}

Status drop_cached(int fd, std::uint64_t bytes) {
  LAMINA_RETURN_IF_ERROR(os::sync(fd, "a file"));
  const int error = ::posix_fadvise(fd, 0, static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
  return error == 0 ? Status{} : system_failure("posix_fadvise", "a file", error);
}

Status drop_cache(const std::string& directory) { return for_each_file(directory, drop_cached); }

}  // namespace lamina::bench
