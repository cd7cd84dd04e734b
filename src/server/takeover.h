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

/// Whether a failure is a short supply (of memory, descriptors, …) and not what was asked for.
bool is_shortage(const Error& error);

/// Puts `vm` among `vms` when its snapshot can be served; kills it when it never can be: what it
/// was resumed from is gone or damaged. False when it may be another time: nothing was done then.
bool admit_found_vm(const StateDirectory& states, Snapshots& snapshots, std::unique_ptr<Vm> vm,
                    Vms& vms, Totals& totals, const Log& log);

/// Takes over every VM of the state directory that has no server, and kills those that can never be
/// served. True when some may be another time: they wait until this is called again.
Result<bool> take_over_abandoned(const StateDirectory& states, Snapshots& snapshots, Vms& vms,
                                 Totals& totals, const Log& log);

}  // namespace lamina::server
