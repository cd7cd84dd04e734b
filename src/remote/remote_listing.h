// What a bucket has, for people.
#pragma once

#include "lamina/remote.h"
#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::remote {

/// As list_remote(), with an open bucket; `options.url` is not used.
Result<RemoteListReport> list(object_store::ObjectStore& bucket, const RemoteListOptions& options);

/// As use_of_remote(), with an open bucket; `options.url` is not used.
Result<RemoteUseReport> use(object_store::ObjectStore& bucket, const RemoteUseOptions& options);

}  // namespace lamina::remote
