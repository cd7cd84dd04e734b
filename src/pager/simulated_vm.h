// A VM for tests: its memory, its threads and its kernel exist only in this object.
//
// It behaves as userfaultfd(2) does with UFFD_FEATURE_EVENT_REMOVE:
//
//   - Reading returns faults before other events, whatever happened first.
//   - While a REMOVE is unread, and until its thread has run again, nothing can be filled (EAGAIN).
//     The pages disappear after that.
//   - A fill wakes the threads that wait for its pages, and stops at a present page. A thread that
//     is woken while its page is missing faults again.
//   - A fill of a range that is not registered, or not in one mapping, fails (ENOENT).
//   - A host without pages refuses (ENOMEM); if a pool of huge pages is empty, the kernel claims
//     that the page is present (EEXIST).
//
// Time stands still except for advance().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "pager/regions.h"
#include "pager/vm_syscalls.h"

namespace lamina::pager {

inline constexpr std::uint64_t kMillisecondNs = 1'000'000;
inline constexpr std::uint64_t kSecondNs = 1'000 * kMillisecondNs;

class SimulatedVm final : public VmSyscalls {
 public:
  explicit SimulatedVm(std::vector<Region> regions) : regions_(std::move(regions)) {}

  // The guest.

  /// A thread touches an address, and waits if the page is missing.
  void touch(std::uint64_t address);
  /// Number of threads that wait for a page.
  [[nodiscard]] std::size_t waiting() const { return waiters_.size(); }
  [[nodiscard]] bool is_waiting(std::uint64_t address) const;
  /// The bytes of a present page; empty if it is missing.
  [[nodiscard]] std::span<std::byte> page(std::uint64_t address);
  /// A thread gives memory back. It is not finished until the event has been read and
  /// run_removing_threads() was called twice, unless they run by themselves.
  void give_back(std::uint64_t start, std::uint64_t end);
  /// Lets the threads that give memory back run one step, if their event was read. Calls
  /// `on_removed` after the pages have disappeared.
  void run_removing_threads();
  std::function<void(std::uint64_t start, std::uint64_t end)> on_removed;
  /// False: run_removing_threads() is called only by the test.
  bool removing_threads_run = true;
  /// True if the address is in memory that is being given back.
  [[nodiscard]] bool is_being_removed(std::uint64_t address) const;
  [[nodiscard]] bool is_being_removed_anywhere() const { return !removes_.empty(); }
  /// The process forks: its child's userfaultfd is `descriptor`.
  void fork(int descriptor);
  void exit() { ended_ = true; }

  // The host.

  void advance(std::uint64_t nanoseconds) { now_ns_ += nanoseconds; }
  /// Pages of 4 KiB and 2 MiB that the host has left.
  std::size_t small_pages = SIZE_MAX;
  std::size_t huge_pages = SIZE_MAX;
  /// Fills of this page fail with the error.
  std::map<std::uint64_t, int> failures;
  /// Mappings end here: a fill across this address is refused.
  std::set<std::uint64_t> mapping_ends;
  /// Fills of pages in this range are refused, as if it were unmapped.
  std::set<std::uint64_t> unmapped;
  /// Called before and after each system call: a test may throw, as if the server was killed there.
  std::function<void()> around_calls = [] {};

  // What happened.

  [[nodiscard]] bool was_killed() const { return killed_; }
  [[nodiscard]] const std::set<std::uint64_t>& poisoned() const { return poisoned_; }
  /// The pages that were filled, in order, without repetitions of present ones.
  [[nodiscard]] const std::vector<std::uint64_t>& filled() const { return filled_; }
  /// Number of calls of read_events().
  [[nodiscard]] std::size_t reads() const { return reads_; }
  /// Number of calls of copy() and zero().
  [[nodiscard]] std::size_t fills() const { return fills_; }
  [[nodiscard]] std::size_t wakes() const { return wakes_; }
  /// Events that were queued and not read.
  [[nodiscard]] std::size_t unread() const;

  // System calls.

  Result<std::size_t> read_events(std::span<uffd_msg> slots) override;
  os::FillResult copy(std::uint64_t address, std::span<const std::byte> source) override;
  os::FillResult zero(std::uint64_t address, std::uint64_t length) override;
  Status wake(std::uint64_t address, std::uint64_t length) override;
  Status unregister(std::uint64_t address, std::uint64_t length) override;
  bool poison(std::uint64_t address, std::uint64_t length) override;
  bool has_page(std::uint64_t address) override;
  bool has_ended() override { return ended_; }
  Status kill() override;
  std::uint64_t monotonic_ns() override { return now_ns_; }

 private:
  struct Waiter {
    std::uint64_t page = 0;
    bool was_read = false;
  };
  enum class RemoveStep : std::uint8_t { kUnread, kRead, kDisappearing };
  struct Remove {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    RemoveStep step = RemoveStep::kUnread;
  };

  [[nodiscard]] const Region* region_of(std::uint64_t address) const;
  [[nodiscard]] std::uint64_t page_of(std::uint64_t address) const;
  /// Fills [address, address + length); `source` is empty for zeros.
  os::FillResult fill(std::uint64_t address, std::uint64_t length,
                      std::span<const std::byte> source);
  /// The error number for a page that cannot be filled; 0 if it can.
  [[nodiscard]] int refusal_of(const Region& region, std::uint64_t page) const;
  /// Wakes the waiters of a range: those whose page is missing fault again.
  void run_waiters(std::uint64_t start, std::uint64_t end);

  std::vector<Region> regions_;
  std::map<std::uint64_t, std::vector<std::byte>> pages_;
  std::vector<Waiter> waiters_;
  std::vector<Remove> removes_;
  std::deque<int> forks_;
  std::set<std::uint64_t> unregistered_;  ///< starts of regions
  std::set<std::uint64_t> poisoned_;
  std::vector<std::uint64_t> filled_;
  std::size_t reads_ = 0;
  std::size_t fills_ = 0;
  std::size_t wakes_ = 0;
  std::uint64_t now_ns_ = 1'000'000'000;
  bool ended_ = false;
  bool killed_ = false;
};

}  // namespace lamina::pager
