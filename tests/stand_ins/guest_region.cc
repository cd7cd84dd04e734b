#include "stand_ins/guest_region.h"

#include <sys/mman.h>

namespace lamina::tests {

std::byte* map_region(std::size_t size_bytes, bool huge_pages) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                        huge_pages ? kFlags | MAP_HUGETLB : kFlags, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

}  // namespace lamina::tests
