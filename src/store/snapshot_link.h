// A snapshot in a second place: its files linked into another directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "store/snapshot_directory.h"

namespace lamina::store {

/// True for what lamina itself keeps in a snapshot's directory besides the VM state and the working
/// set: header, facts, layers, and what is half written.
bool is_own_file(const std::string& name);

/// True for every name that a snapshot's own files have, or may have while they are made: nothing
/// that a user attaches may be called so.
bool is_reserved_name(const std::string& name);

/// Links every file of the snapshot that is none of lamina's own into `directory`: VM state,
/// working set, what a user attached. What cannot be linked is copied; kFailed names what is no
/// file.
Status link_other_files(const OpenSnapshot& source, int directory,
                        const std::string& directory_path);

/// Links layers, header and facts into `directory`, and then the other files. Layers that had to be
/// copied are named in `notes`. Nothing is synced but copies. The result is the same snapshot: same
/// pause id. kBusy when the snapshot was replaced meanwhile, and its files may be gone.
Status link_snapshot(const OpenSnapshot& source, int directory, const std::string& directory_path,
                     std::vector<std::string>& notes);

}  // namespace lamina::store
