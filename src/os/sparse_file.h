// Where a file has data and where it has holes.
//
// In a Diff that Firecracker wrote, a hole means "not dirty" and a written zero means "dirty, and
// zero now". The difference between the two is data, and two calls of the kernel show it:
//
//   SEEK_DATA   says what it takes to read the file. ext4 and xfs report preallocated storage that
//               nobody wrote as a hole, until somebody reads it: then its zeros are in the page
//               cache, and it is reported as data. A checksum of the file is enough.
//   FIEMAP      says how the storage is laid out, and marks what was never written. What is still
//               in the page cache only is not in that layout yet, so the file is written back first
//               (FIEMAP_FLAG_SYNC).
//
// Data is therefore what was written, whether or not it has been read. Where FIEMAP does not exist
// (tmpfs, FUSE, NFS) SEEK_DATA has to do; os/hole_probe.h tries out whether it does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/result.h"

namespace lamina::os {

/// A run of bytes that was written.
struct DataExtent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  bool operator==(const DataExtent&) const = default;
};

/// What is known of a file's storage.
struct FileMap {
  std::vector<DataExtent> written;  ///< in order, neighbours joined
  /// The file system told preallocated storage from written storage. False: preallocated storage
  /// may be in `written`.
  bool tells_preallocated = false;
  bool has_preallocated = false;  ///< some storage was never written, and is not in `written`
  /// has_preallocated can be believed. True on tmpfs too, where storage that is set aside is data
  /// once it is set aside again, or read through a mapping; some of it mostly is left.
  bool knows_preallocated = false;
};

/// Maps [0, size_bytes) of a file. Writes the file's dirty pages back first where the file system
/// knows FIEMAP (no journal commit, no flush of the disk: this is not a sync). Must be called
/// before anything maps a file on tmpfs: a read through a mapping turns a hole into data there. A
/// file system that knows no holes reports one run over everything. The file must not be written to
/// meanwhile. Moves the descriptor's position.
Result<FileMap> map_file(int fd, std::uint64_t size_bytes, const std::string& object);

/// The written runs of map_file().
Result<std::vector<DataExtent>> data_extents(int fd, std::uint64_t size_bytes,
                                             const std::string& object);

/// False when [offset, end) of a file has a hole: a file of ours that has one where something was
/// written was never written whole, however long it says it is. Moves the descriptor's position.
Result<bool> is_stored(int fd, std::uint64_t offset, std::uint64_t end, const std::string& object);

}  // namespace lamina::os
