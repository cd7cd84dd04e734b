// A snapshot that is opened together with its files beside the layers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/file.h"
#include "store/snapshot_directory.h"

namespace lamina::operations {

/// A file of a snapshot that is not a layer.
struct SnapshotFile {
  std::string name;
  std::string path;
  os::OpenedFile opened;
};

/// What happens to the snapshot's name from then on does not matter.
struct SnapshotWithFiles {
  store::OpenSnapshot snapshot;
  std::vector<SnapshotFile> files;  ///< sorted by name
};

/// Opens a snapshot and those of its files that are `wanted`. If it is replaced meanwhile, opens
/// the new one. `done_to_it` is for messages: "packed". kNotFound, kCorrupt: the snapshot; kBusy:
/// it was replaced again and again; kFailed: a wanted name is not a file.
Result<SnapshotWithFiles> open_with_files(
    const std::string& path, const std::function<bool(const std::string& name)>& wanted,
    const char* done_to_it);

}  // namespace lamina::operations
