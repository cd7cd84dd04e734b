#include "pager/plan_reader.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "os/clock.h"
#include "os/thread.h"

namespace lamina::pager {
namespace {

constexpr std::size_t kBufferBytes = kPortionBlocks * kBlockBytes;

/// A portion in the page cache takes about 300 microseconds, one of 512 pieces a millisecond.
constexpr std::uint64_t kQuickNs = 2'000'000;

}  // namespace

Result<std::unique_ptr<PlanReader>> PlanReader::start() { return contain("plan reader", make); }

Result<std::unique_ptr<PlanReader>> PlanReader::make() {
  std::unique_ptr<PlanReader> reader(new PlanReader);
  LAMINA_ASSIGN_OR_RETURN(reader->finished_, os::Event::create("plan reader"));
  LAMINA_ASSIGN_OR_RETURN(reader->buffers_,
                          os::AnonymousMapping::map(kPortions * kBufferBytes, "plan reader"));
  for (std::size_t i = 0; i < kPortions; ++i) {
    reader->portions_[i].buffer = reader->buffers_.bytes().subspan(i * kBufferBytes, kBufferBytes);
  }
  LAMINA_ASSIGN_OR_RETURN(reader->thread_,
                          os::start_thread("plan reader", [raw = reader.get()] { raw->run(); }));
  return reader;
}

PlanReader::~PlanReader() {
  stopping_ = true;
  posts_.fetch_add(1);
  posts_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void PlanReader::share_among(std::size_t sessions) {
  share_ = std::max<std::size_t>(1, kPortions / std::max<std::size_t>(1, sessions));
}

Portion* PlanReader::take() {
  for (std::size_t i = 0; i < kPortions; ++i) {
    if (taken_[i]) continue;
    taken_[i] = true;
    portions_[i].clear();
    return &portions_[i];
  }
  return nullptr;
}

void PlanReader::post(Portion& portion) {
  portion.number.store(++numbers_, std::memory_order_relaxed);
  portion.state.store(PortionState::kPosted, std::memory_order_release);
  posts_.fetch_add(1, std::memory_order_release);
  posts_.notify_one();
}

bool PlanReader::give_back(Portion& portion) {
  PortionState posted = PortionState::kPosted;
  if (!portion.state.compare_exchange_strong(posted, PortionState::kFree,
                                             std::memory_order_acquire)) {
    if (posted == PortionState::kReading) return false;
    portion.state.store(PortionState::kFree, std::memory_order_relaxed);
  }
  taken_[static_cast<std::size_t>(&portion - portions_.data())] = false;
  return true;
}

void PlanReader::wait_for(const Portion& portion) {
  portion.state.wait(PortionState::kReading, std::memory_order_acquire);
}

Portion* PlanReader::next() {
  while (true) {
    Portion* oldest = nullptr;
    std::uint64_t number = 0;
    for (Portion& portion : portions_) {
      if (portion.state.load(std::memory_order_relaxed) != PortionState::kPosted) continue;
      const std::uint64_t its = portion.number.load(std::memory_order_relaxed);
      if (oldest != nullptr && its > number) continue;
      oldest = &portion;
      number = its;
    }
    if (oldest == nullptr) return nullptr;
    // The owner may have reclaimed it meanwhile.
    PortionState posted = PortionState::kPosted;
    if (oldest->state.compare_exchange_strong(posted, PortionState::kReading,
                                              std::memory_order_acquire)) {
      return oldest;
    }
  }
}

void PlanReader::run() {
  // Allocate the pages now, so that no plan waits for them. madvise(2) does not overwrite them: the
  // owner may already be reading into them. (Linux 5.14; on older kernels pages are allocated on
  // first use.)
  static_cast<void>(
      ::madvise(buffers_.bytes().data(), buffers_.bytes().size(), MADV_POPULATE_WRITE));
  while (true) {
    const std::uint32_t seen = posts_.load(std::memory_order_acquire);
    if (stopping_) return;
    Portion* portion = next();
    if (portion == nullptr) {
      posts_.wait(seen, std::memory_order_acquire);
      continue;
    }
    read(*portion);
    finished_.signal();
  }
}

void PlanReader::read(Portion& portion) {
  const std::uint64_t started_ns = os::monotonic_ns();
  const Status done = contain("read ahead", [&] { return read_portion(portion); });
  read_ns_.store(os::monotonic_ns() - started_ns, std::memory_order_relaxed);
  portion.state.store(done ? PortionState::kRead : PortionState::kFailed,
                      std::memory_order_release);
  portion.state.notify_all();
}

bool PlanReader::read_one() {
  if (read_ns_.load(std::memory_order_relaxed) > kQuickNs) return false;
  Portion* portion = next();
  if (portion == nullptr) return false;
  read(*portion);
  return true;
}

}  // namespace lamina::pager
