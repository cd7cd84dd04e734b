// What recovery does about snapshots that are still being fetched (store/arrival.h).
//
// An arrival is used by the VMs that were resumed from it, by the process that fetches it, and by a
// process that is about to resume a VM from it. One that nobody uses is removed: nothing is lost,
// because the bucket has it. The others are left alone: the page server of their VMs starts a
// fetcher whenever there is none.
#pragma once

#include <set>
#include <string>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "store/store.h"

namespace lamina::lifecycle {

/// Adds the store's arrivals to the report, and removes those that nobody uses, unless it is a dry
/// run. `released_pins`: pins that exist in a dry run only. Arrivals of another store, and those
/// that cannot be read now, are counted as foreign; with `adopt_store` they are treated as this
/// store's.
Status end_arrivals(const store::Store& store, const RecoverOptions& options,
                    const std::set<std::string>& released_pins, RecoverReport& report);

}  // namespace lamina::lifecycle
