// A push (docs/remote.md, "Publishing").
#pragma once

#include "lamina/remote.h"
#include "lamina/result.h"
#include "object_store/object_store.h"
#include "packed/keys.h"

namespace lamina::remote {

/// As push_snapshot(), with an open bucket; `options.url` is not used. `tenant` may be null.
Result<PushReport> push(object_store::ObjectStore& bucket, const PushOptions& options,
                        packed::KeyWrapper* tenant);

}  // namespace lamina::remote
