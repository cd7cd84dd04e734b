#include "sys/locked_memory.h"

#include <sys/mman.h>

#include <cerrno>

#include "base/error.h"

namespace lamina::sys {

Result<LockedMemory> LockedMemory::allocate(std::size_t bytes) {
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (address == MAP_FAILED) return system_failure("mmap", "event slots", errno);
  // Without the right to lock, prefaulted memory still only faults when it is swapped out.
  static_cast<void>(::mlock(address, bytes));
  LockedMemory memory;
  memory.bytes_ = {static_cast<std::byte*>(address), bytes};
  return memory;
}

LockedMemory& LockedMemory::operator=(LockedMemory&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

LockedMemory::~LockedMemory() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace lamina::sys
