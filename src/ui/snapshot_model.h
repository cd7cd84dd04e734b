// One snapshot as the console and the report show it.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/inspect.h"
#include "lamina/listing.h"
#include "lamina/result.h"
#include "schema/json.h"

namespace lamina::ui {

/// The path of a snapshot of the store. kUsage if `name` cannot be the name of one: no name leads
/// out of the store.
Result<std::string> path_of_snapshot(const std::string& store, const std::string& name);

/// {"name", "info" (as lamina inspect --json), "extents", "coarse_blocks", "working_set", "pause",
/// "line"}. The extents are binary: u32 blocks, u16 layer (0: zeros, 1: the oldest), u32 block in
/// the layer's data, each in little-endian order, in base64. If there are more than a browser can
/// hold, each stands for coarse_blocks blocks, by what holds most of them. The working set is u32
/// first block, u32 blocks. `line`: the snapshots of `listing` that this one descends from, the
/// newest first, with how their pauses were taken.
Result<schema::Json> snapshot_json(const StoreListing& listing, const std::string& name);

/// What the merge policies would do: a list of reports of lamina compact --dry-run.
Result<schema::Json> merge_json(const std::string& store, const std::string& name);

/// Reads one block and compares it with its checksum: {"state": "correct", "unchecked" or
/// "corrupt", "message", "is_zero"}.
Result<schema::Json> block_json(const std::string& store, const std::string& name,
                                std::uint64_t offset_bytes);

}  // namespace lamina::ui
