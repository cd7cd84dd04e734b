#include "stand_ins/firecracker/workload.h"

#include <algorithm>

namespace lamina::tests {
namespace {

/// Neighbouring pages of one thread.
constexpr std::size_t kPagesPerChunk = 16;

}  // namespace

void RunGate::open() {
  const std::lock_guard lock(mutex_);
  is_open_ = true;
  changed_.notify_all();
}

void RunGate::close() {
  std::unique_lock lock(mutex_);
  is_open_ = false;
  changed_.wait(lock, [&] { return inside_ == 0; });
}

void RunGate::enter() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return is_open_; });
  ++inside_;
}

bool RunGate::try_enter() {
  const std::lock_guard lock(mutex_);
  if (is_open_) ++inside_;
  return is_open_;
}

void RunGate::leave() {
  const std::lock_guard lock(mutex_);
  if (--inside_ == 0) changed_.notify_all();
}

std::uint64_t GuestRandom::next() {
  std::uint64_t drawn = state_.fetch_add(kRandomStep);
  return next_random(drawn);
}

void operate(Guest& guest, GuestRandom& random, Share share, bool balloon) {
  const std::size_t chunks = (guest.pages() + kPagesPerChunk - 1) / kPagesPerChunk;
  const std::size_t own = (chunks + share.of - 1 - share.index) / share.of;
  if (own == 0) return;
  const std::size_t chunk = random.next() % own * share.of + share.index;
  const std::size_t first = chunk * kPagesPerChunk;
  const std::size_t count = std::min(kPagesPerChunk, guest.pages() - first);
  const std::size_t page = first + random.next() % count;
  constexpr unsigned kActions = 16;
  switch (random.next() % kActions) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      return guest.write(page, random.next_seed());
    case 5:
    case 6:
      return guest.write(page, 0);
    case 7:
      if (balloon) return guest.balloon(page, 1 + random.next() % (first + count - page));
      [[fallthrough]];
    default:
      guest.read(page);
  }
}

void start_writers(std::size_t threads, Guest& guest, GuestRandom& random, RunGate& gate,
                   bool balloon) {
  for (std::size_t i = 0; i < threads; ++i) {
    std::thread([&guest, &random, &gate, share = Share{i, threads}, balloon] {
      while (true) {
        gate.enter();
        operate(guest, random, share, balloon);
        gate.leave();
      }
    }).detach();
  }
}

}  // namespace lamina::tests
