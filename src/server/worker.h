// The serving process (worker): a child of the supervisor that may be killed at any instruction.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "lamina/result.h"
#include "server/served_vms.h"
#include "server/snapshots.h"

namespace lamina::server {

/// The state of the serving process when its supervisor had ended.
struct WorkerEnd {
  bool detaching = false;                     ///< the supervisor was stopping
  std::vector<std::unique_ptr<Vm>> unopened;  ///< VMs whose snapshots were being opened
};

/// Serves `vms` and the VMs that arrive through `control`, until the process of the pidfd
/// `supervisor` has ended. (Its end of `control` may close earlier: then a new program has replaced
/// it and will end this process.) While a process lives that is to succeed this one (kReplaced),
/// that one takes the supervisor's place, and this one goes on until it is killed. Snapshots that
/// are not in `snapshots` are opened here. On return `vms` has the VMs that are still served, with
/// all descriptors, so the caller can become the supervisor. kFailed if serving could not start.
Result<WorkerEnd> run_worker(Snapshots& snapshots, Vms& vms, int control, int supervisor,
                             std::size_t threads, Log log);

}  // namespace lamina::server
