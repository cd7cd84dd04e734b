// The bound of the disk that snapshots take which a bucket has too (docs/remote.md, "Bounded
// disk").
#pragma once

#include <cstdint>
#include <string>

#include "lamina/progress.h"
#include "lamina/remote.h"
#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::remote {

struct CacheBound {
  std::string store;  ///< path
  std::uint64_t limit_bytes = 0;
  std::uint64_t incoming_bytes = 0;  ///< room to be made for what is about to come
  std::string keep;                  ///< name of a snapshot that stays; may be empty
  Progress* progress = nullptr;
};

/// Evicts until the cache and what comes are within the bound, or nothing more may go; a note says
/// so then. The bucket is asked before each eviction, and not otherwise. If it does not answer, a
/// note says that, and nothing more goes. Errors: the store cannot be listed; kInterrupted.
/// The caller may hold the lock of `keep`, and of no other name.
Result<CacheReport> bound_cache(object_store::ObjectStore& bucket, const CacheBound& bound);

/// The same after a pull that has succeeded, or made room: what it did is added to the report, and
/// an error is a note. `options.cache_bytes` absent: nothing.
void bound_cache_of_pull(object_store::ObjectStore& bucket, const PullOptions& options,
                         std::uint64_t incoming_bytes, PullReport& report);

}  // namespace lamina::remote
