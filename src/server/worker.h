// The serving process: a child of the supervisor that may be killed at any instruction.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "lamina/result.h"
#include "server/snapshots.h"
#include "server/state_directory.h"
#include "server/vm.h"
#include "sys/fd.h"

namespace lamina::server {

using Vms = std::map<std::uint64_t, std::unique_ptr<Vm>>;

struct WorkerOptions {
  std::size_t threads = 1;
  int supervisor = -1;  ///< a pidfd of it
  bool record = false;
  std::function<void(const std::string&)> log;
};

/// Serves `vms` and those that come through `control`, until the supervisor is gone: its process,
/// not only its end of `control`, which a new program in its place has closed. Then `vms` is
/// what is still served, with all descriptors: the caller may put a new supervisor in this place.
/// kFailed when it cannot even begin.
Status run_worker(const Snapshots& snapshots, Vms& vms, int control, const WorkerOptions& options);

}  // namespace lamina::server
