#include "os/shared_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include <cerrno>

#include "base/error.h"

namespace lamina::os {

Result<SharedMapping> SharedMapping::map(int fd, std::size_t bytes, const std::string& object) {
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) return system_failure("mmap", object, errno);
  SharedMapping mapping;
  mapping.bytes_ = {static_cast<std::byte*>(address), bytes};
  return mapping;
}

SharedMapping& SharedMapping::operator=(SharedMapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

SharedMapping::~SharedMapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

void SharedMapping::lock(std::size_t offset, std::size_t length) const {
  const auto part = bytes_.subspan(offset, length);
  // If locking is not permitted, a page that was touched leaves memory only when it is swapped out.
  static_cast<void>(::madvise(part.data(), part.size(), MADV_POPULATE_WRITE));
  static_cast<void>(::mlock(part.data(), part.size()));
}

Status reserve(int fd, const ByteRange& range, const std::string& object) {
  while (::fallocate(fd, 0, static_cast<off_t>(range.offset), static_cast<off_t>(range.length)) !=
         0) {
    if (errno != EINTR) return system_failure("fallocate", object, errno);
  }
  return {};
}

Result<std::uint64_t> file_system_bytes(int fd, const std::string& object) {
  struct statfs facts{};
  while (::fstatfs(fd, &facts) != 0) {
    if (errno != EINTR) return system_failure("statfs", object, errno);
  }
  return static_cast<std::uint64_t>(facts.f_blocks) * static_cast<std::uint64_t>(facts.f_bsize);
}

}  // namespace lamina::os
