// Rebuilding lost metadata of a snapshot.
#pragma once

#include <string>
#include <vector>

#include "lamina/result.h"

namespace lamina {

struct RepairReport {
  bool header_rebuilt = false;
  bool facts_rebuilt = false;      ///< snapshot.json
  std::vector<std::string> notes;  ///< one line each
};

/// Rebuilds a missing or corrupt header of the snapshot at `snapshot` (STORE/NAME) from the
/// trailers of its layers, and a missing or corrupt snapshot.json. Layers are not written. If
/// neither is damaged, nothing is done, and that is not an error.
///
/// Writes only what the layers prove to be right. On failure nothing has changed. kNotFound: the
/// snapshot or a layer that it needs; kCorrupt: the layers do not prove what the snapshot was;
/// kBusy: another writer has the lock of the name; kUsage: not a name for a snapshot; kNoSpace;
/// else kFailed. Thread-safe.
Result<RepairReport> repair(const std::string& snapshot);

}  // namespace lamina
