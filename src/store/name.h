// Names and paths of snapshots.
#pragma once

#include <string>

#include "lamina/result.h"

namespace lamina::store {

/// A snapshot's path and its parts.
struct SnapshotPath {
  std::string store;  ///< path of the store
  std::string name;
  std::string path;  ///< store/name, for messages
};

/// Splits `path` and checks the name: 1 to 200 letters, digits and "._-+@=:,", of which the first
/// is a letter or digit; else kUsage. So a name cannot lead out of the store or to one of its
/// areas.
Result<SnapshotPath> parse_snapshot_path(const std::string& path);

/// The path of the snapshot `name` in `store`. kUsage if the name is not valid as above.
Result<SnapshotPath> snapshot_in(const std::string& store, const std::string& name);

}  // namespace lamina::store
