// The proof that a bucket has a state, which an eviction needs (docs/remote.md, "Bounded disk").
#pragma once

#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "remote/bucket.h"

namespace lamina::remote {

/// Asks the bucket whether a pull of `name` would get the state of this pause, or one that descends
/// from it: the newest state of the name is a manifest of this pause, or its parents, as far as the
/// bucket has their records, lead to it; and all objects of the newest manifest are there with
/// their sizes. Empty: so it is. Else why the local snapshot must stay. Errors: the bucket could
/// not be asked, or a record is damaged. REQUIRES: check_name(name).
Result<std::string> why_not_in_bucket(Bucket& bucket, const std::string& name,
                                      const Uuid& pause_id);

}  // namespace lamina::remote
