// Links the files of a snapshot into another directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "store/snapshot_directory.h"

namespace lamina::store {

/// True for the names of header, facts and layers, and of their unfinished versions. False for the
/// VM state, the working set, and attached files.
bool is_own_file(const std::string& name);

/// True for every name that lamina uses in a snapshot's directory. Attached files must not have it.
bool is_reserved_name(const std::string& name);

/// Links the files of the snapshot for which is_own_file() is false into `directory`: VM state,
/// working set, attached files. A file that cannot be linked is copied. kFailed: the message names
/// an entry that is not a file.
Status link_other_files(const OpenSnapshot& source, int directory,
                        const std::string& directory_path);

/// Links layers, header and facts into `directory`, and then the other files. The result is the
/// same snapshot, with the same pause id. `notes` names the layers that were copied. Only copies
/// are synced. kBusy: the snapshot was replaced meanwhile, and its files may be gone. `progress`,
/// which may be null, is told of copies, and may interrupt them.
Status link_snapshot(const OpenSnapshot& source, int directory, const std::string& directory_path,
                     std::vector<std::string>& notes, Progress* progress = nullptr);

}  // namespace lamina::store
