// Rotation of a tenant's key (docs/remote.md, "Rotating a key").
#pragma once

#include "lamina/remote_keys.h"
#include "lamina/result.h"
#include "object_store/object_store.h"
#include "packed/keys.h"

namespace lamina::remote {

/// Wraps the keys that `before` wraps with `after`.
Result<RotateKeyReport> rotate_key(object_store::ObjectStore& bucket,
                                   const RotateKeyOptions& options, packed::KeyWrapper& before,
                                   packed::KeyWrapper& after);

}  // namespace lamina::remote
