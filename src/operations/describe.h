// SnapshotInfo of an open snapshot.
#pragma once

#include <string>

#include "format/header.h"
#include "lamina/inspect.h"
#include "store/snapshot_directory.h"

namespace lamina::operations {

/// The information in the header; fields of other files are absent.
SnapshotInfo describe_header(const format::Header& header, const std::string& path);

SnapshotInfo describe_snapshot(const store::OpenSnapshot& snapshot, const std::string& path);

}  // namespace lamina::operations
