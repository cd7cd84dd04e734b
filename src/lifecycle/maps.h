// Materialized memory files for VMs that map one: <store>/.maps/<pause id>, made once for all VMs
// of a pause, so that they share its page cache.
//
// A pin's `map` is a hard link to the file, so the link count tells whether the file is in use.
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

/// True if there is a file for this pause.
bool has_map(const store::Store& store, const Uuid& pause_id);

/// Links the materialized memory of the pin's base into the pin, and returns the link's path. Makes
/// the file if there is none; every block is then checked against its checksum.
Result<std::string> provide_map(const store::Store& store, const store::Pin& pin,
                                const Uuid& pause_id, Progress* progress);

/// Removes the files that no pin links to (`dry_run`: only counts them). Returns how many.
Result<std::uint64_t> remove_unused_maps(const store::Store& store, bool dry_run);

}  // namespace lamina::lifecycle
