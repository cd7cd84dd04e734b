// Removing a name (docs/remote.md, "Removing").
#pragma once

#include "lamina/remote.h"
#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::remote {

/// As remove_remote(), with an open bucket; `options.url` is not used.
Result<RemoteRemoveReport> remove_name(object_store::ObjectStore& bucket,
                                       const RemoteRemoveOptions& options);

}  // namespace lamina::remote
