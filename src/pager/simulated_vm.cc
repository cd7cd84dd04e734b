#include "pager/simulated_vm.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"

namespace lamina::pager {
namespace {

/// As os/userfaultfd.h interprets the errors of a fill.
os::FillOutcome outcome_of_errno(int error_number, std::uint64_t bytes_done) {
  switch (error_number) {
    case EEXIST:
      return os::FillOutcome::kPresent;
    case EAGAIN:
      return bytes_done > 0 ? os::FillOutcome::kPresent : os::FillOutcome::kUnreadEvent;
    case ENOENT:
      return os::FillOutcome::kUnmapped;
    case ESRCH:
      return os::FillOutcome::kProcessGone;
    case ENOMEM:
      return os::FillOutcome::kNoMemory;
    default:
      return os::FillOutcome::kFailed;
  }
}

}  // namespace

const Region* SimulatedVm::region_of(std::uint64_t address) const {
  for (const Region& region : regions_) {
    if (address >= region.host_address && address < region.host_end()) return &region;
  }
  return nullptr;
}

std::uint64_t SimulatedVm::page_of(std::uint64_t address) const {
  const Region* region = region_of(address);
  return region == nullptr ? address : address & ~(region->page_bytes - 1);
}

void SimulatedVm::touch(std::uint64_t address) {
  const std::uint64_t page = page_of(address);
  if (!pages_.contains(page)) waiters_.push_back({page});
}

bool SimulatedVm::is_waiting(std::uint64_t address) const {
  const std::uint64_t page = page_of(address);
  return std::any_of(waiters_.begin(), waiters_.end(),
                     [&](const Waiter& waiter) { return waiter.page == page; });
}

std::span<std::byte> SimulatedVm::page(std::uint64_t address) {
  const auto found = pages_.find(page_of(address));
  return found == pages_.end() ? std::span<std::byte>() : std::span(found->second);
}

void SimulatedVm::give_back(std::uint64_t start, std::uint64_t end) {
  removes_.push_back({start, end});
}

void SimulatedVm::run_removing_threads() {
  for (std::size_t i = 0; i < removes_.size();) {
    Remove& remove = removes_[i];
    if (remove.step != RemoveStep::kDisappearing) {
      if (remove.step == RemoveStep::kRead) remove.step = RemoveStep::kDisappearing;
      ++i;
      continue;
    }
    const Remove done = remove;
    removes_.erase(removes_.begin() + static_cast<std::ptrdiff_t>(i));
    pages_.erase(pages_.lower_bound(done.start), pages_.lower_bound(done.end));
    if (on_removed) on_removed(done.start, done.end);
  }
}

bool SimulatedVm::is_being_removed(std::uint64_t address) const {
  return std::any_of(removes_.begin(), removes_.end(), [&](const Remove& remove) {
    return address >= remove.start && address < remove.end;
  });
}

void SimulatedVm::fork(int descriptor) { forks_.push_back(descriptor); }

std::size_t SimulatedVm::unread() const {
  const auto faults = std::count_if(waiters_.begin(), waiters_.end(),
                                    [](const Waiter& waiter) { return !waiter.was_read; });
  const auto removes = std::count_if(removes_.begin(), removes_.end(), [](const Remove& remove) {
    return remove.step == RemoveStep::kUnread;
  });
  return static_cast<std::size_t>(faults + removes) + forks_.size();
}

Result<std::size_t> SimulatedVm::read_events(std::span<uffd_msg> slots) {
  around_calls();
  ++reads_;
  if (ended_) return fail(ErrorKind::kNotFound, "the process has ended");
  std::size_t count = 0;
  for (Waiter& waiter : waiters_) {
    if (count == slots.size()) break;
    if (std::exchange(waiter.was_read, true)) continue;
    uffd_msg& slot = slots[count++];
    slot = {};
    slot.event = UFFD_EVENT_PAGEFAULT;
    slot.arg.pagefault.address = waiter.page;
  }
  for (Remove& remove : removes_) {
    if (count == slots.size()) break;
    if (remove.step != RemoveStep::kUnread) continue;
    remove.step = RemoveStep::kRead;
    uffd_msg& slot = slots[count++];
    slot = {};
    slot.event = UFFD_EVENT_REMOVE;
    slot.arg.remove.start = remove.start;
    slot.arg.remove.end = remove.end;
  }
  while (!forks_.empty() && count < slots.size()) {
    uffd_msg& slot = slots[count++];
    slot = {};
    slot.event = UFFD_EVENT_FORK;
    slot.arg.fork.ufd = static_cast<std::uint32_t>(forks_.front());
    forks_.pop_front();
  }
  if (removing_threads_run) {
    run_removing_threads();
    run_removing_threads();
  }
  around_calls();
  return count;
}

int SimulatedVm::refusal_of(const Region& region, std::uint64_t page) const {
  if (ended_) return ESRCH;
  const bool is_changing = std::any_of(removes_.begin(), removes_.end(), [](const Remove& remove) {
    return remove.step != RemoveStep::kDisappearing;
  });
  if (is_changing) return EAGAIN;
  if (unregistered_.contains(region.host_address) || unmapped.contains(page)) return ENOENT;
  if (pages_.contains(page)) return EEXIST;
  const auto failure = failures.find(page);
  if (failure != failures.end()) return failure->second;
  if (region.page_bytes == kHugePageBytes) return huge_pages == 0 ? EEXIST : 0;
  return small_pages == 0 ? ENOMEM : 0;
}

os::FillResult SimulatedVm::fill(std::uint64_t address, std::uint64_t length,
                                 std::span<const std::byte> source) {
  around_calls();
  ++fills_;
  os::FillResult result;
  const Region* region = region_of(address);
  const auto next_end = mapping_ends.upper_bound(address);
  const bool is_in_one_mapping = next_end == mapping_ends.end() || *next_end >= address + length;
  int error_number = 0;
  if (region == nullptr || address + length > region->host_end() || !is_in_one_mapping) {
    error_number = ENOENT;
  } else if (address % region->page_bytes != 0 || length % region->page_bytes != 0 || length == 0 ||
             (source.empty() && region->page_bytes == kHugePageBytes)) {
    error_number = EINVAL;
  }
  while (error_number == 0 && result.bytes_done < length) {
    const std::uint64_t page = address + result.bytes_done;
    error_number = refusal_of(*region, page);
    if (error_number != 0) break;
    --(region->page_bytes == kHugePageBytes ? huge_pages : small_pages);
    std::vector<std::byte>& bytes = pages_[page];
    if (source.empty()) {
      bytes.assign(region->page_bytes, std::byte{0});
    } else {
      const auto data = source.subspan(result.bytes_done, region->page_bytes);
      bytes.assign(data.begin(), data.end());
    }
    filled_.push_back(page);
    result.bytes_done += region->page_bytes;
  }
  if (error_number != 0) {
    // The kernel reports EAGAIN if it has filled some pages.
    result.error_number = result.bytes_done > 0 ? EAGAIN : error_number;
    result.outcome = outcome_of_errno(result.error_number, result.bytes_done);
  }
  run_waiters(address, address + result.bytes_done);
  around_calls();
  return result;
}

os::FillResult SimulatedVm::copy(std::uint64_t address, std::span<const std::byte> source) {
  return fill(address, source.size(), source);
}

os::FillResult SimulatedVm::zero(std::uint64_t address, std::uint64_t length) {
  return fill(address, length, {});
}

void SimulatedVm::run_waiters(std::uint64_t start, std::uint64_t end) {
  for (std::size_t i = 0; i < waiters_.size();) {
    Waiter& waiter = waiters_[i];
    const bool is_woken = waiter.page >= start && waiter.page < end;
    if (is_woken && pages_.contains(waiter.page)) {
      waiters_.erase(waiters_.begin() + static_cast<std::ptrdiff_t>(i));
      continue;
    }
    if (is_woken) waiter.was_read = false;
    ++i;
  }
}

Status SimulatedVm::wake(std::uint64_t address, std::uint64_t length) {
  around_calls();
  ++wakes_;
  run_waiters(address, address + length);
  around_calls();
  return {};
}

Status SimulatedVm::unregister(std::uint64_t address, std::uint64_t length) {
  around_calls();
  if (ended_) return fail(ErrorKind::kFailed, "unregister: cannot allocate memory");
  const Region* region = region_of(address);
  if (region == nullptr || region->host_address != address || region->size_bytes != length) {
    return fail(ErrorKind::kFailed, "unregister: not a region");
  }
  unregistered_.insert(address);
  // The kernel fills missing pages with zeros from now on.
  for (const Waiter& waiter : waiters_) {
    if (region_of(waiter.page) == region) pages_[waiter.page].resize(region->page_bytes);
  }
  run_waiters(address, address + length);
  around_calls();
  return {};
}

bool SimulatedVm::poison(std::uint64_t address, std::uint64_t length) {
  around_calls();
  const Region* region = region_of(address);
  if (region == nullptr) return false;
  for (std::uint64_t page = address; page < address + length; page += region->page_bytes) {
    poisoned_.insert(page);
  }
  around_calls();
  return true;
}

bool SimulatedVm::has_page(std::uint64_t address) {
  around_calls();
  return pages_.contains(page_of(address));
}

Status SimulatedVm::kill() {
  around_calls();
  killed_ = true;
  ended_ = true;
  around_calls();
  return {};
}

}  // namespace lamina::pager
