// A pull of everything (docs/remote.md, "Pulling").
#pragma once

#include "lamina/remote.h"
#include "lamina/result.h"
#include "object_store/object_store.h"
#include "packed/keys.h"

namespace lamina::remote {

/// As pull_snapshot(), with an open bucket; `options.url` is not used. `tenant` may be null.
Result<PullReport> pull(object_store::ObjectStore& bucket, const PullOptions& options,
                        packed::KeyWrapper* tenant);

/// As begin_pull(), for a snapshot that the store does not have in any way.
Result<LazyPullReport> pull_lazily(object_store::ObjectStore& bucket,
                                   const LazyPullOptions& options, packed::KeyWrapper* tenant);

}  // namespace lamina::remote
