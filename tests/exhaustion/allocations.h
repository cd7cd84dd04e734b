// Memory that runs out when a test wants it to: replaces operator new of the whole program.
#pragma once

#include <cstdint>

namespace lamina::tests {

/// While it lives, the allocation after `count` others fails with std::bad_alloc, and so do `more`
/// later ones: in all threads of the process.
class MemoryRunsOut {
 public:
  explicit MemoryRunsOut(std::int64_t count, std::int64_t more = std::int64_t{1} << 40);
  MemoryRunsOut(const MemoryRunsOut&) = delete;
  MemoryRunsOut& operator=(const MemoryRunsOut&) = delete;
  MemoryRunsOut(MemoryRunsOut&&) = delete;
  MemoryRunsOut& operator=(MemoryRunsOut&&) = delete;
  ~MemoryRunsOut();

  /// There is memory again. Whether any was lacking.
  static bool end();
};

}  // namespace lamina::tests
