#include "server/prefetcher.h"

#include <algorithm>
#include <utility>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "os/page_cache.h"
#include "os/thread.h"

namespace lamina::server {

Result<std::unique_ptr<Prefetcher>> Prefetcher::start() {
  std::unique_ptr<Prefetcher> started(new Prefetcher);
  LAMINA_ASSIGN_OR_RETURN(started->thread_,
                          os::start_thread("prefetcher", [raw = started.get()] { raw->run(); }));
  return started;
}

Prefetcher::~Prefetcher() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Prefetcher::add(const Service& service) noexcept {
  if (!service.plan || service.plan->first.empty()) return;
  Wanted wanted{service.snapshot, service.plan};
  const Status added = contain("prefetcher", [&]() -> Status {
    const MutexLock lock(mutex_);
    // Asked for already by another VM, and not yet begun: once is enough.
    if (std::find(queue_.begin(), queue_.end(), wanted) == queue_.end()) {
      queue_.push_back(std::move(wanted));
    }
    return {};
  });
  if (added) wake_.notify_all();
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
  for (const BlockRun& run : wanted.plan->first) {
    for (std::uint32_t done = 0; done < run.count;) {
      if (stopping_) return;
      const mapping::Extent extent = chain.mapping().resolve(run.first + done);
      const std::uint32_t count = std::min(extent.block_count, run.count - done);
      if (extent.layer != mapping::kZeros) {
        os::read_ahead(chain.layer(extent.layer).fd(), extent.storage_block * kBlockBytes,
                       count * kBlockBytes);
      }
      done += count;
    }
  }
}

}  // namespace lamina::server
