#pragma once

#include <string>

#include "lamina/result.h"

namespace lamina::store {

/// A snapshot's path, taken apart.
struct SnapshotPath {
  std::string store;  ///< the directory that holds it
  std::string name;
  std::string path;  ///< store/name, as it is shown in messages
};

/// Splits `path` and validates the name: 1 to 200 letters, digits and "._-+@=:,", the first a
/// letter or digit. kUsage otherwise. So a name never leaves its store and never meets lamina's own
/// directories.
Result<SnapshotPath> parse_snapshot_path(const std::string& path);

/// The snapshot `name` of the store at `store`; kUsage for a name as above, and for one with a
/// slash.
Result<SnapshotPath> snapshot_in(const std::string& store, const std::string& name);

}  // namespace lamina::store
