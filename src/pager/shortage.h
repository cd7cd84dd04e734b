// A host that has no page for what a VM asks for.
//
// The pool of huge pages is empty, or the VM's control group has reached its limit. The kernel
// refuses the fill, and the thread that waits must not be woken: it would fault again at once, and
// so for ever. So the VM's faults are left unanswered, and one page is tried again, at growing
// intervals: when it is filled, all who wait are woken. When nothing was to be had for too long,
// the VM is killed: it would hang for ever. Other VMs are served meanwhile.
#pragma once

#include <cstdint>

namespace lamina::pager {

struct ShortageLimits {
  std::uint64_t first_delay_ns = 10'000'000;
  std::uint64_t longest_delay_ns = 500'000'000;
  /// A thread that has waited for so long waits in vain.
  std::uint64_t timeout_ns = 30'000'000'000;
};

/// Of one VM; one thread.
class Shortage {
 public:
  explicit Shortage(const ShortageLimits& limits) : limits_(limits) {}

  [[nodiscard]] bool is_on() const { return on_; }
  /// Of the page that is tried again.
  [[nodiscard]] std::uint64_t address() const { return address_; }
  [[nodiscard]] std::uint64_t page_bytes() const { return page_bytes_; }
  /// When it is to be tried again. REQUIRES: is_on().
  [[nodiscard]] std::uint64_t next_try_ns() const { return next_try_ns_; }
  /// A thread has waited for too long.
  [[nodiscard]] bool has_timed_out(std::uint64_t now_ns) const {
    return on_ && waiting_since_ns_ != 0 && now_ns - waiting_since_ns_ >= limits_.timeout_ns;
  }
  [[nodiscard]] const ShortageLimits& limits() const { return limits_; }

  /// A fill was refused. `waited_for`: a thread cannot go on without it. True when this begins a
  /// shortage that is worth a line: one a minute at most.
  bool begin(std::uint64_t address, std::uint64_t page_bytes, bool waited_for,
             std::uint64_t now_ns);
  /// A thread waits besides.
  void add_waiter(std::uint64_t now_ns);
  /// It was refused again.
  void try_later(std::uint64_t now_ns);
  /// A page was to be had. True when the beginning was worth a line.
  bool end();

 private:
  ShortageLimits limits_;
  bool on_ = false;
  bool said_ = false;
  std::uint64_t address_ = 0;
  std::uint64_t page_bytes_ = 0;
  std::uint64_t waiting_since_ns_ = 0;  ///< 0: no thread waits
  std::uint64_t next_try_ns_ = 0;
  std::uint64_t delay_ns_ = 0;
  std::uint64_t said_ns_ = 0;  ///< 0: never
};

}  // namespace lamina::pager
