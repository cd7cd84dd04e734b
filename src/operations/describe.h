// What is told about a snapshot that is open.
#pragma once

#include <string>

#include "format/header.h"
#include "lamina/inspect.h"
#include "store/snapshot_directory.h"

namespace lamina::operations {

/// What the header alone says.
SnapshotInfo describe_header(const format::Header& header, const std::string& path);

SnapshotInfo describe_snapshot(const store::OpenSnapshot& snapshot, const std::string& path);

}  // namespace lamina::operations
