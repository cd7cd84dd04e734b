// Materialized memory files for VMs that map one: <store>/.maps/<pause id>, made once and shared by
// all VMs of a pause, so that they share its page cache.
//
// A pin's `map` is a hard link to the file. So the link count says whether it is used, and a file
// that only .maps names may go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/pin.h"
#include "store/store.h"

namespace lamina::lifecycle {

inline constexpr const char* kPinMapName = "map";

/// True when a file of this pause is there.
bool has_map(const store::Store& store, const Uuid& pause_id);

/// Gives the pin the materialized memory of its base, made when there is none yet, and returns its
/// path. Every block is checked against its checksum when it is made.
Result<std::string> give_map(const store::Store& store, const store::Pin& pin, const Uuid& pause_id,
                             Progress* progress);

/// Removes the files that no pin has. Returns how many.
Result<std::uint64_t> remove_unused_maps(const store::Store& store, bool dry_run);

}  // namespace lamina::lifecycle
