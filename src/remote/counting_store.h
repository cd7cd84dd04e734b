// Counts requests: one layer below the one that repeats requests, where every attempt is seen, and
// one above it, where each request is seen once. The difference is the number of repetitions.
#pragma once

#include <cstdint>
#include <memory>

#include "lamina/remote.h"
#include "object_store/object_store.h"

namespace lamina::remote {

enum class CountedLayer : std::uint8_t {
  kAttempts,  ///< adds each request that ends to `by_outcome`, and to `repeated`
  kRequests,  ///< takes each request that ends from `repeated`
};

/// Passes requests on to `store`. A request that is cancelled is not counted. `counts` must outlive
/// the store.
std::unique_ptr<object_store::ObjectStore> make_counting_store(
    std::unique_ptr<object_store::ObjectStore> store, CountedLayer layer, RemoteRequests& counts);

}  // namespace lamina::remote
