#include "server/prefetcher.h"

#include <algorithm>

#include "base/block.h"
#include "sys/file.h"

namespace lamina::server {

Prefetcher::Prefetcher() : thread_([this] { run(); }) {}

Prefetcher::~Prefetcher() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Prefetcher::add(const Snapshot& snapshot) {
  if (!snapshot.populates || snapshot.plan.first.empty()) return;
  {
    const MutexLock lock(mutex_);
    // Asked for already by another VM, and not yet begun: once is enough.
    if (std::find(queue_.begin(), queue_.end(), &snapshot) == queue_.end()) {
      queue_.push_back(&snapshot);
    }
  }
  wake_.notify_all();
}

void Prefetcher::run() {
  while (true) {
    const Snapshot* next = nullptr;
    {
      const MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) wake_.wait(mutex_);
      if (stopping_) return;
      next = queue_.front();
      queue_.pop_front();
    }
    read_ahead(*next);
  }
}

void Prefetcher::read_ahead(const Snapshot& snapshot) const {
  const engine::Chain& chain = snapshot.opened.chain;
  for (const format::BlockRun& run : snapshot.plan.first) {
    for (std::uint32_t done = 0; done < run.block_count;) {
      if (stopping_) return;
      const mapping::Extent extent = chain.mapping().resolve(run.guest_block + done);
      const std::uint32_t count = std::min(extent.block_count, run.block_count - done);
      if (extent.layer != mapping::kZeros) {
        sys::read_ahead(chain.layer(extent.layer).fd(), extent.storage_block * kBlockBytes,
                        count * kBlockBytes);
      }
      done += count;
    }
  }
}

}  // namespace lamina::server
