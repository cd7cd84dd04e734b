// The serving process: a child of the supervisor that may be killed at any instruction.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "lamina/result.h"
#include "server/served_vms.h"
#include "server/snapshots.h"

namespace lamina::server {

/// How it was when the supervisor had gone.
struct WorkerEnd {
  bool detaching = false;                     ///< it had said that no VM is accepted any more
  std::vector<std::unique_ptr<Vm>> unopened;  ///< on record; their snapshots were being opened
};

/// Serves `vms` and those that come through `control` (what they are served is opened here, unless
/// it is among `snapshots`), until the process behind the pidfd
/// `supervisor` has ended (its end of `control` may close before: a new program in its place has
/// yet to end this process). Then `vms` is what is still served, with all descriptors: the caller
/// may put a new supervisor in this place. kFailed when it cannot even begin.
Result<WorkerEnd> run_worker(Snapshots& snapshots, Vms& vms, int control, int supervisor,
                             std::size_t threads, Log log);

}  // namespace lamina::server
