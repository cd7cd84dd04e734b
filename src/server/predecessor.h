// What a program does about the one whose place it has taken by exec(2), and about its serving
// process, which still serves.
#pragma once

#include <vector>

#include "lamina/result.h"
#include "server/inherited_state.h"
#include "server/snapshots.h"

namespace lamina::server {

/// Whether the predecessor's serving process runs.
bool serves_still(InheritedState& state);

/// Ends that process, if it runs: it is a child of this one.
void end_serving_process(InheritedState& state);

/// Opens what each of the VMs is served. An error when one cannot be opened that may be another
/// time, or by the serving process; the services that never can be are errors in the list.
Result<std::vector<Result<Service>>> open_services(InheritedState& state, Snapshots& snapshots);

}  // namespace lamina::server
