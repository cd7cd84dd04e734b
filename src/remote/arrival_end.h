// The end of an arrival: its snapshot gets its name.
#pragma once

#include <string>
#include <vector>

#include "lamina/result.h"
#include "store/arrival.h"
#include "store/store.h"

namespace lamina::remote {

/// Gives a snapshot that is whole, and synced, its name, and removes the arrival. Returns the path.
/// If the store has another snapshot of that name, it gets the name "NAME@PAUSE" and a note says
/// so. After a crash it can be called again. REQUIRES: the caller holds the arrival's lock.
Result<std::string> publish_arrived(store::Arrival& arrival, std::vector<std::string>& notes);

}  // namespace lamina::remote
