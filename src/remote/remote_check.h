// Checking what a bucket has.
#pragma once

#include "lamina/remote.h"
#include "lamina/result.h"
#include "object_store/object_store.h"
#include "packed/keys.h"

namespace lamina::remote {

/// As verify_remote(), with an open bucket; `options.url` is not used. `tenant` may be null.
Result<RemoteVerifyReport> verify(object_store::ObjectStore& bucket,
                                  const RemoteVerifyOptions& options, packed::KeyWrapper* tenant);

}  // namespace lamina::remote
