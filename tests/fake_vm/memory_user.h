// Threads that use guest memory at random and know what every byte of it must be.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fake_firecracker.h"

namespace lamina::tests {

struct Usage {
  std::size_t page_bytes = 4096;
  std::size_t threads = 2;
  std::uint64_t operations = 2000;  ///< of each thread
  std::uint64_t seed = 1;
  bool wait_for_end_of_input = false;  ///< goes on, idle after `operations`, until stdin ends
  std::chrono::seconds patience{20};   ///< a thread without progress for so long is stuck
  std::uint64_t die_after = 0;         ///< operations of all threads; 0: never
};

/// What was done, and how much of it was wrong.
struct UsageReport {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t removes = 0;
  std::uint64_t wrong_pages = 0;
  std::string first_wrong;  ///< empty: none
};

/// The memory as it must be, for the region at `memory_offset`: at first what the truth file has,
/// zeros behind its end. Private: the file is not changed.
class Model {
 public:
  /// Ends the process when the file cannot be mapped.
  Model(const std::string& truth_path, const GuestRegion& region);
  [[nodiscard]] std::byte* bytes() const { return bytes_; }

 private:
  std::byte* bytes_;
};

/// Reads, writes, copies by system calls and gives back pages from several threads, each page owned
/// by one of them; compares every page before it is used, and all of them at the end. Ends the
/// process with kExitStuck when a thread makes no progress.
UsageReport use_memory(const std::vector<GuestRegion>& regions, const std::string& truth_path,
                       const Usage& usage);

/// Reads pages of the memory in this order, and nothing else.
UsageReport touch_pages(const std::vector<GuestRegion>& regions, const std::string& truth_path,
                        const std::vector<std::uint64_t>& pages);

inline constexpr int kExitStuck = 3;

}  // namespace lamina::tests
