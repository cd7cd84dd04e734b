#include "suspects_read_ahead.h"

#include <algorithm>

#include "base/block.h"
#include "base/error.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/page_cache.h"
#include "touching_guest.h"

namespace lamina::bench {
namespace {

constexpr std::size_t kWindowPortions = 4;
constexpr std::uint64_t kQuickNs = 2'000'000;

// A buffer's state grows: posted for its first portion, being read, full or failed, posted for the
// next.
constexpr std::uint64_t kSteps = 4;
constexpr std::uint64_t kReading = 1;
constexpr std::uint64_t kFull = 2;
constexpr std::uint64_t kFailed = 3;

std::uint64_t posted(std::size_t number) { return number / PopulateBuffers::kCount * kSteps; }

void announce(const BareLayer& layer, const BarePortion& portion) {
  for (const format::BlockRun& run : portion) {
    os::read_ahead(layer.fd(), run.guest_block * kBlockBytes, run.block_count * kBlockBytes);
  }
}

}  // namespace

Status read_portion(const BareLayer& layer, const BarePortion& portion,
                    std::span<std::byte> buffer) {
  for (const format::BlockRun& run : portion) {
    const std::uint64_t bytes = run.block_count * kBlockBytes;
    LAMINA_RETURN_IF_ERROR(layer.read(run.guest_block, buffer.first(bytes)));
    buffer = buffer.subspan(bytes);
  }
  return {};
}

void Announcer::reach(std::size_t number) {
  if (announcing_ != Announcing::kWindow) return;
  for (; next_ < portions_.size() && next_ <= number + kWindowPortions; ++next_) {
    announce(layer_, portions_[next_]);
  }
}

AnnouncingThread::AnnouncingThread(const BareLayer& layer, std::span<const BarePortion> portions,
                                   Announcing announcing) {
  if (announcing != Announcing::kAll) return;
  thread_ = std::thread([this, &layer, portions] {
    for (const BarePortion& portion : portions) {
      if (stop_) return;
      announce(layer, portion);
    }
  });
}

AnnouncingThread::~AnnouncingThread() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

Helper::Helper(const BareLayer& layer, std::span<const BarePortion> portions,
               PopulateBuffers& buffers, const PopulateWay& way, int cpu)
    : layer_(layer),
      portions_(portions),
      buffers_(buffers),
      copier_helps_(way.source != Source::kHelperAlone),
      announcer_(layer, portions, way.announcing),
      thread_([this, cpu] {
        const Pinned pinned(cpu);
        run();
      }) {}

void Helper::run() {
  for (std::size_t i = 0; i < portions_.size(); ++i) {
    std::atomic<std::uint64_t>& state = state_of(i);
    for (std::uint64_t now = state; now < posted(i) && !stop_; now = state) state.wait(now);
    if (stop_) return;
    announcer_.reach(i);
    read_if_posted(i);
  }
}

Helper::~Helper() {
  stop_ = true;
  for (std::atomic<std::uint64_t>& state : states_) {
    state += kSteps;
    state.notify_all();
  }
  thread_.join();
}

std::span<const std::byte> Helper::take(std::size_t number) {
  std::atomic<std::uint64_t>& state = state_of(number);
  while (true) {
    const std::uint64_t now = state;
    if (now == posted(number) + kFull) return buffer_of(number);
    if (now == posted(number) + kFailed) return {};
    const bool quick = copier_helps_ && read_ns_ <= kQuickNs;
    if (quick && (read_if_posted(number) || read_one_behind(number))) continue;
    state.wait(now);
  }
}

void Helper::give_back(std::size_t number) {
  std::atomic<std::uint64_t>& state = state_of(number);
  state = posted(number) + kSteps;
  state.notify_all();
}

bool Helper::read_if_posted(std::size_t number) {
  std::uint64_t expected = posted(number);
  if (!state_of(number).compare_exchange_strong(expected, expected + kReading)) return false;
  const std::uint64_t start = os::monotonic_ns();
  const Status read = read_portion(layer_, portions_[number], buffer_of(number));
  read_ns_ = os::monotonic_ns() - start;
  state_of(number) = posted(number) + (read ? kFull : kFailed);
  state_of(number).notify_all();
  return true;
}

bool Helper::read_one_behind(std::size_t number) {
  const std::size_t end = std::min(number + PopulateBuffers::kCount, portions_.size());
  for (std::size_t i = number + 1; i < end; ++i) {
    if (read_if_posted(i)) return true;
  }
  return false;
}

}  // namespace lamina::bench
