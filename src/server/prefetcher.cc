#include "server/prefetcher.h"

#include <algorithm>
#include <utility>

#include "base/block.h"
#include "sys/page_cache.h"

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

void Prefetcher::add(const Service& service) {
  if (!service.plan || service.plan->first.empty()) return;
  Wanted wanted{service.snapshot, service.plan};
  {
    const MutexLock lock(mutex_);
    // Asked for already by another VM, and not yet begun: once is enough.
    if (std::find(queue_.begin(), queue_.end(), wanted) == queue_.end()) {
      queue_.push_back(std::move(wanted));
    }
  }
  wake_.notify_all();
}

void Prefetcher::run() {
  while (true) {
    Wanted next;
    {
      const MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) wake_.wait(mutex_);
      if (stopping_) return;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    read_ahead(next);
  }
}

void Prefetcher::read_ahead(const Wanted& wanted) const {
  const engine::Chain& chain = wanted.snapshot->opened.chain;
  for (const format::BlockRun& run : wanted.plan->first) {
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
