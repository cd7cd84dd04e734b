#include "ballast.h"

#include <sys/mman.h>

namespace lamina::bench {

void touch_ballast(std::uint64_t bytes) {
  if (bytes == 0) return;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  // Too little memory for it: the timed part is then slower, for all contenders alike.
  if (memory == MAP_FAILED) return;
  ::munmap(memory, bytes);
}

}  // namespace lamina::bench
