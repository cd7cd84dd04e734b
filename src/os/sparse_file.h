// Finds the data and the holes of a file.
//
// In a Diff written by Firecracker, a hole means "not dirty" and a written zero means "dirty, and
// now zero". The difference between the two is data. Two kernel interfaces show it:
//
//   SEEK_DATA   ext4 and xfs report preallocated storage that was never written as a hole, until it
//               is read: then its zeros are in the page cache and it is reported as data. Computing
//               a checksum of the file is enough.
//   FIEMAP      reports the layout of the storage and marks storage that was never written. It does
//               not include data that is only in the page cache, so the file is written back first
//               (FIEMAP_FLAG_SYNC).
//
// With FIEMAP, data is exactly what was written, whether or not it was read since. Without FIEMAP
// (tmpfs, FUSE, NFS) SEEK_DATA is used; os/hole_probe.h tests whether it is exact.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/run.h"
#include "lamina/result.h"

namespace lamina::os {

/// Storage of a file.
struct FileMap {
  std::vector<ByteRange> written;  ///< in order, adjacent ranges joined
  /// The file system distinguishes preallocated from written storage. False: `written` may include
  /// preallocated storage.
  bool distinguishes_preallocated = false;
  bool has_preallocated = false;  ///< some storage was never written; it is not in `written`
  /// has_preallocated is reliable. Also true on tmpfs, although preallocated storage turns into
  /// data there when it is preallocated again or read through a mapping: usually some of it
  /// remains.
  bool preallocated_is_known = false;
};

/// Examines [0, size_bytes) of a file. With FIEMAP, writes the dirty pages back first (not a sync:
/// no journal commit, no disk flush). On tmpfs, call this before the file is mapped: a read through
/// a mapping turns a hole into data there. On a file system without holes the result is one range.
/// The file must not be written meanwhile. Moves the descriptor's position.
Result<FileMap> map_file(int fd, std::uint64_t size_bytes, const std::string& object);

/// FileMap::written of map_file().
Result<std::vector<ByteRange>> written_ranges(int fd, std::uint64_t size_bytes,
                                              const std::string& object);

/// False if [offset, end) of a file has a hole. A hole in a range that lamina has written means
/// that the file is incomplete, whatever its size. Moves the descriptor's position.
Result<bool> is_stored(int fd, std::uint64_t offset, std::uint64_t end, const std::string& object);

}  // namespace lamina::os
