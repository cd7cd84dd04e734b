#include "pager/shortage.h"

#include <algorithm>

namespace lamina::pager {
namespace {

constexpr std::uint64_t kLogIntervalNs = 60'000'000'000;

}  // namespace

void Shortage::begin(std::uint64_t address, std::uint64_t page_bytes, bool waited_for,
                     std::uint64_t now_ns) {
  if (waited_for) add_waiter(now_ns);
  if (active_) return;
  active_ = true;
  address_ = address;
  page_bytes_ = page_bytes;
  delay_ns_ = limits_.first_delay_ns;
  next_try_ns_ = now_ns + delay_ns_;
  logged_ = logged_ns_ == 0 || now_ns - logged_ns_ >= kLogIntervalNs;
  if (!logged_) return;
  logged_ns_ = now_ns;
  news_ = News::kBegun;
}

void Shortage::add_waiter(std::uint64_t now_ns) {
  if (waiting_since_ns_ == 0) waiting_since_ns_ = now_ns;
}

void Shortage::try_later(std::uint64_t now_ns) {
  delay_ns_ = std::min(2 * delay_ns_, limits_.longest_delay_ns);
  next_try_ns_ = now_ns + delay_ns_;
}

void Shortage::end() {
  active_ = false;
  waiting_since_ns_ = 0;
  if (logged_) news_ = News::kEnded;
}

}  // namespace lamina::pager
