// The part of a session that handles a host without free pages (Shortage).
#include <algorithm>

#include "base/error.h"
#include "os/clock.h"
#include "os/page_table.h"
#include "os/process.h"
#include "pager/session.h"

namespace lamina::pager {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

const char* remedy(std::uint64_t page_bytes) {
  return page_bytes == kHugePageBytes
             ? "the pool of huge pages is empty, or the VM's control group has reached its limit: "
               "raise vm.nr_hugepages or hugetlb.2MB.max"
             : "the VM's control group has reached its limit, or the host has no memory left";
}

}  // namespace

os::FillResult Session::distinguish_empty_pool(const os::FillResult& result, const Region& region,
                                               std::uint64_t address) const {
  if (region.page_bytes != kHugePageBytes || result.outcome != os::FillOutcome::kPresent) {
    return result;
  }
  const auto there = os::has_page(vm_.record().pid, address);
  os::FillResult told = result;
  if (os::has_ended(fds_.pidfd)) {
    told.outcome = os::FillOutcome::kProcessGone;
  } else if (!there.value_or(false)) {
    // (Also if it is unknown, for example for lack of a descriptor: the fill is retried.)
    told.outcome = os::FillOutcome::kNoMemory;
  }
  return told;
}

void Session::begin_shortage(const Region& region, std::uint64_t address, bool waited_for) {
  if (!shortage_.begin(address, region.page_bytes, waited_for, os::monotonic_ns())) return;
  note_ = fmt::format(
      "the host has no page of {} KiB for process {} at {:#x}: {}; retrying for {} s, then the VM "
      "is "
      "killed",
      region.page_bytes / 1024, vm_.record().pid, address, remedy(region.page_bytes),
      shortage_.limits().timeout_ns / kNanosecondsPerSecond);
}

std::optional<std::uint64_t> Session::next_retry_ns() const {
  if (!shortage_.is_active() || state_ != SessionState::kServing) return std::nullopt;
  return shortage_.next_try_ns();
}

SessionState Session::retry() {
  const auto due_ns = next_retry_ns();
  const std::uint64_t now_ns = os::monotonic_ns();
  if (!due_ns || now_ns < *due_ns) return state_;
  const std::uint64_t address = shortage_.address();
  const Region& region = *regions_.find(address);
  const auto block = static_cast<std::uint32_t>(
      (region.memory_offset + (address - region.host_address)) / kBlockBytes);
  const os::FillResult result =
      distinguish_empty_pool(fill(region, run_at(region, block, 1, 1)), region, address);
  if (state_ != SessionState::kServing) return state_;
  switch (result.outcome) {
    case os::FillOutcome::kNoMemory:
      if (shortage_.has_timed_out(now_ns)) {
        give_up_shortage();
      } else {
        shortage_.try_later(now_ns);
      }
      break;
    case os::FillOutcome::kUnreadEvent:
      // Other events in the batch are handled as usual.
      handle_events();
      shortage_.try_later(now_ns);
      break;
    case os::FillOutcome::kProcessGone:
      end();
      break;
    case os::FillOutcome::kFailed:
      fail_closed(system_error("fill", fmt::format("{:#x}", address), result.error_number).message,
                  address, region.page_bytes);
      break;
    case os::FillOutcome::kDone:
    case os::FillOutcome::kPresent:
    case os::FillOutcome::kUnmapped:
      end_shortage();
      break;
  }
  return state_;
}

void Session::end_shortage() {
  if (shortage_.end()) {
    note_ = fmt::format("the page for process {} is available again", vm_.record().pid);
  }
  for (const Region& region : regions_.regions()) wake(region.host_address, region.size_bytes);
}

void Session::give_up_shortage() {
  fail_closed(fmt::format("the host had no page of {} KiB for {:#x} within {} s: {}",
                          shortage_.page_bytes() / 1024, shortage_.address(),
                          shortage_.limits().timeout_ns / kNanosecondsPerSecond,
                          remedy(shortage_.page_bytes())),
              shortage_.address(), shortage_.page_bytes());
}

}  // namespace lamina::pager
