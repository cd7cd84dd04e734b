// What a listing says about one snapshot, found without opening its layers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lamina/listing.h"
#include "lamina/uuid.h"

namespace lamina::operations {

/// Describes entry `name` of the store (`store` is its descriptor). Nothing when it is gone, or no
/// snapshot; `notes` tells in the second case. What is wrong with a snapshot is in its error. When
/// the directory is replaced meanwhile, the new one is described. Pins and resumes are left at 0.
std::optional<SnapshotListing> summarize_snapshot(int store, const std::string& store_path,
                                                  const std::string& name, bool with_dead_bytes,
                                                  std::vector<std::string>& notes);

/// The pause id of the snapshot in an open directory; nothing when it cannot be read.
std::optional<Uuid> pause_id_of(int directory, const std::string& path);

}  // namespace lamina::operations
