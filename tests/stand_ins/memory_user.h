// Threads that use guest memory at random and know what every byte of it must be.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "stand_ins/guest_region.h"

namespace lamina::tests {

/// Copies what the memory must hold from `offset` in the memory file on to `bytes`. Leaves what
/// lies behind the end of the memory as it is.
using Truth = std::function<void(std::uint64_t offset, std::span<std::byte> bytes)>;

/// REQUIRES: `memory` outlives the result.
Truth truth_of(const std::vector<std::byte>& memory);

/// Ends the process if the file cannot be read.
Truth truth_of_file(const std::string& path);

struct Usage {
  std::size_t page_bytes = kGuestPageBytes;
  std::size_t threads = 2;
  std::uint64_t operations = 2000;  ///< of each thread
  std::uint64_t seed = 1;
  bool wait_for_end_of_input = false;  ///< goes on, idle after `operations`, until stdin ends
  std::chrono::seconds timeout{60};    ///< a thread without progress for so long is stuck
  std::uint64_t die_after = 0;         ///< operations of all threads; 0: never
};

/// What was done, and how much of it was wrong.
struct UsageReport {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t removes = 0;
  std::uint64_t wrong_pages = 0;
  std::string first_wrong;  ///< empty: none

  /// 0 if no page was wrong, else 1.
  [[nodiscard]] int exit_code() const { return wrong_pages == 0 ? 0 : 1; }
};

/// Reads, writes, copies by system calls and gives back pages from several threads, each page owned
/// by one of them; compares every page before it is used, and all of them at the end. Ends the
/// process with kExitStuck when a thread makes no progress.
UsageReport use_memory(std::span<const GuestRegion> regions, const Truth& truth,
                       const Usage& usage);

/// Reads pages of the memory in this order, and nothing else.
UsageReport touch_pages(std::span<const GuestRegion> regions, const Truth& truth,
                        const std::vector<std::uint64_t>& pages);

inline constexpr int kExitStuck = 3;

}  // namespace lamina::tests
