// A prune: retention, then one cycle of a collector (docs/remote.md, "Collecting").
#pragma once

#include "lamina/remote.h"
#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::remote {

/// A pin that was stored longer ago than this is expired.
inline constexpr std::chrono::hours kPinLifetime{24};

struct CollectSettings {
  /// Tests set another one.
  std::chrono::seconds pin_lifetime = kPinLifetime;
};

/// As prune_remote(), with an open bucket; `options.url` is not used.
Result<PruneReport> prune(object_store::ObjectStore& bucket, const PruneOptions& options,
                          const CollectSettings& settings = {});

}  // namespace lamina::remote
