// One snapshot of a listing, read without opening its layers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lamina/listing.h"
#include "lamina/uuid.h"

namespace lamina::operations {

/// Describes entry `name` of the store with the descriptor `store`. Absent if it does not exist, or
/// is not a snapshot (then `notes` says so). The error of a damaged snapshot is in its `error`. If
/// the directory is replaced meanwhile, the new one is described. Leaves `running` and `resumes` at
/// 0.
std::optional<SnapshotListing> summarize_snapshot(int store, const std::string& store_path,
                                                  const std::string& name, bool with_dead_bytes,
                                                  std::vector<std::string>& notes);

/// The pause id of the snapshot in an open directory; absent if it cannot be read.
std::optional<Uuid> pause_id_of(int directory, const std::string& path);

}  // namespace lamina::operations
