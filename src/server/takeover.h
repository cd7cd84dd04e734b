// What a start does about the VMs that were there before it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "lamina/result.h"
#include "server/metrics.h"
#include "server/served_vms.h"
#include "server/snapshots.h"
#include "server/state_directory.h"

namespace lamina::server {

/// So long after the start, and so often, VMs without a server are looked for again: one that was
/// killed a moment ago may still be on its way out, and hold what it served.
inline constexpr std::chrono::seconds kLookingAgain{10};
inline constexpr int kLookMs = 100;

/// The sooner of two times to wait, of which -1 means for ever.
int sooner(int a_ms, int b_ms);

/// Puts `vm` among `vms` when its snapshot can be served; kills it otherwise.
void admit_found_vm(const StateDirectory& states, Snapshots& snapshots, std::unique_ptr<Vm> vm,
                    Vms& vms, Totals& totals, const Log& log);

/// Takes over, or kills, every VM of the state directory that has no server.
Status take_over_abandoned(const StateDirectory& states, Snapshots& snapshots, Vms& vms,
                           Totals& totals, const Log& log);

}  // namespace lamina::server
