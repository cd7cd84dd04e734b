#include "os/anonymous_mapping.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>

#include "base/error.h"

namespace lamina::os {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

Result<std::byte*> map_small_pages(std::size_t bytes, const std::string& object) {
  void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return system_failure("map memory for", object, errno);
  static_cast<void>(::madvise(mapped, bytes, MADV_NOHUGEPAGE));
  static_cast<void>(::madvise(mapped, bytes, MADV_DONTFORK));
  return static_cast<std::byte*>(mapped);
}

}  // namespace

Result<AnonymousMapping> AnonymousMapping::map(std::size_t bytes, const std::string& object,
                                               MappedPages pages) {
  if (pages == MappedPages::kSmall) {
    LAMINA_ASSIGN_OR_RETURN(std::byte* const start, map_small_pages(bytes, object));
    AnonymousMapping mapping;
    mapping.bytes_ = {start, bytes};
    return mapping;
  }
  // Map one huge page more, and unmap the parts before and after the aligned range.
  const std::size_t mapped_bytes = bytes + kHugePageBytes;
  void* mapped =
      ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return system_failure("map memory for", object, errno);
  auto* start = static_cast<std::byte*>(mapped);
  const std::size_t before =
      (kHugePageBytes - reinterpret_cast<std::uintptr_t>(mapped) % kHugePageBytes) % kHugePageBytes;
  if (before > 0) ::munmap(start, before);
  const std::size_t rounded = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  ::munmap(start + before + rounded, mapped_bytes - before - rounded);
  AnonymousMapping mapping;
  mapping.bytes_ = {start + before, bytes};
  // Ignored by kernels without transparent huge pages.
  static_cast<void>(::madvise(start + before, rounded, MADV_HUGEPAGE));
  static_cast<void>(::madvise(start + before, rounded, MADV_DONTFORK));
  return mapping;
}

AnonymousMapping& AnonymousMapping::operator=(AnonymousMapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

AnonymousMapping::~AnonymousMapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace lamina::os
