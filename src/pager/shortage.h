// State of a shortage: the host has no free page for a VM.
//
// The pool of huge pages is empty, or the VM's control group has reached its limit. The kernel
// refuses the fill, and the faulting thread must not be woken, because it would fault again at
// once, forever. So the VM's faults stay unserved, and one page is retried at growing intervals.
// Once it is filled, all waiting threads are woken. After too long without success the VM is
// killed, because it would hang forever. Other VMs are served meanwhile.
#pragma once

#include <cstdint>
#include <utility>

namespace lamina::pager {

struct ShortageLimits {
  std::uint64_t first_delay_ns = 10'000'000;
  std::uint64_t longest_delay_ns = 500'000'000;
  /// The VM is killed after a thread has waited this long.
  std::uint64_t timeout_ns = 30'000'000'000;
};

/// For one VM; used by one thread.
class Shortage {
 public:
  explicit Shortage(const ShortageLimits& limits) : limits_(limits) {}

  [[nodiscard]] bool is_active() const { return active_; }
  /// Address of the page that is retried.
  [[nodiscard]] std::uint64_t address() const { return address_; }
  [[nodiscard]] std::uint64_t page_bytes() const { return page_bytes_; }
  /// When to retry. REQUIRES: is_active().
  [[nodiscard]] std::uint64_t next_try_ns() const { return next_try_ns_; }
  /// True if a thread has waited too long.
  [[nodiscard]] bool has_timed_out(std::uint64_t now_ns) const {
    return active_ && waiting_since_ns_ != 0 && now_ns - waiting_since_ns_ >= limits_.timeout_ns;
  }
  [[nodiscard]] const ShortageLimits& limits() const { return limits_; }

  /// To be called when a fill was refused. `waited_for`: a thread waits for the page.
  void begin(std::uint64_t address, std::uint64_t page_bytes, bool waited_for,
             std::uint64_t now_ns);
  /// To be called when another thread waits.
  void add_waiter(std::uint64_t now_ns);
  /// To be called when a retry was refused.
  void try_later(std::uint64_t now_ns);
  void end();

  /// What should be logged. A shortage is logged at most once per minute, and its end only if its
  /// beginning was.
  enum class News : std::uint8_t { kNone, kBegun, kEnded };
  /// Returns and clears the latest news.
  [[nodiscard]] News take_news() { return std::exchange(news_, News::kNone); }

 private:
  ShortageLimits limits_;
  bool active_ = false;
  bool logged_ = false;
  News news_ = News::kNone;
  std::uint64_t address_ = 0;
  std::uint64_t page_bytes_ = 0;
  std::uint64_t waiting_since_ns_ = 0;  ///< 0: no thread waits
  std::uint64_t next_try_ns_ = 0;
  std::uint64_t delay_ns_ = 0;
  std::uint64_t logged_ns_ = 0;  ///< 0: never
};

}  // namespace lamina::pager
