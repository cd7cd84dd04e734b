// The serving process: a child of the supervisor that may be killed at any instruction.
#pragma once

#include <cstddef>

#include "lamina/result.h"
#include "server/served_vms.h"
#include "server/snapshots.h"

namespace lamina::server {

/// Serves `vms` and those that come through `control`, until the supervisor is gone. Then `vms` is
/// what is still served, with all descriptors: the caller may put a new supervisor in this place.
/// kFailed when it cannot even begin.
Status run_worker(const Snapshots& snapshots, Vms& vms, int control, std::size_t threads, Log log);

}  // namespace lamina::server
