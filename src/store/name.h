// Names and paths of snapshots.
#pragma once

#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"

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

/// Where a snapshot is published whose name has become another's: "NAME@ID", a valid name; of a
/// long NAME the first 160 bytes.
std::string name_beside(const std::string& name, const Uuid& id);

}  // namespace lamina::store
