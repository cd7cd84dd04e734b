// Destruction of what a tenant's key wraps (docs/remote.md, "Destroying a key").
#pragma once

#include "lamina/remote_keys.h"
#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::remote {

Result<DestroyKeyReport> destroy_key(object_store::ObjectStore& bucket,
                                     const DestroyKeyOptions& options);

}  // namespace lamina::remote
