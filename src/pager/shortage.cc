#include "pager/shortage.h"

#include <algorithm>

namespace lamina::pager {
namespace {

constexpr std::uint64_t kSaidAgainNs = 60'000'000'000;

}  // namespace

bool Shortage::begin(std::uint64_t address, std::uint64_t page_bytes, bool waited_for,
                     std::uint64_t now_ns) {
  if (waited_for) add_waiter(now_ns);
  if (on_) return false;
  on_ = true;
  address_ = address;
  page_bytes_ = page_bytes;
  delay_ns_ = limits_.first_delay_ns;
  next_try_ns_ = now_ns + delay_ns_;
  said_ = said_ns_ == 0 || now_ns - said_ns_ >= kSaidAgainNs;
  if (said_) said_ns_ = now_ns;
  return said_;
}

void Shortage::add_waiter(std::uint64_t now_ns) {
  if (waiting_since_ns_ == 0) waiting_since_ns_ = now_ns;
}

void Shortage::try_later(std::uint64_t now_ns) {
  delay_ns_ = std::min(2 * delay_ns_, limits_.longest_delay_ns);
  next_try_ns_ = now_ns + delay_ns_;
}

bool Shortage::end() {
  on_ = false;
  waiting_since_ns_ = 0;
  return said_;
}

}  // namespace lamina::pager
