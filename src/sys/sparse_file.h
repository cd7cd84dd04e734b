// Where a file has data and where it has holes, and whether a file system's answer can be trusted.
//
// In a Diff that Firecracker wrote, a hole means "not dirty" and a written zero means "dirty, and
// zero now". So the difference between the two is data, and only SEEK_DATA shows it. On most file
// systems the answer is exact to the page; on some it is coarser (tmpfs with 2 MiB pages, xfs with
// 64 KiB blocks), and then zeros around written pages would be taken for written ones and would
// overwrite the parent. st_blksize tells nothing about it: only a try does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/result.h"

namespace lamina::sys {

/// A run of bytes that the file system says is written.
struct DataExtent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  bool operator==(const DataExtent&) const = default;
};

/// The written runs of [0, size_bytes), in order, by SEEK_DATA and SEEK_HOLE. Must be asked before
/// anything maps the file: on tmpfs a read through a mapping turns a hole into data. A file system
/// that knows no holes reports one run over everything. Moves the descriptor's position.
Result<std::vector<DataExtent>> data_extents(int fd, std::uint64_t size_bytes,
                                             const std::string& object);

/// False when [offset, end) of a file has a hole: a file of ours that has one where something was
/// written was never written whole, however long it says it is. Moves the descriptor's position.
Result<bool> is_stored(int fd, std::uint64_t offset, std::uint64_t end, const std::string& object);

/// What a probe of a directory's file system found.
struct HoleProbe {
  bool exact = false;       ///< exactly the pages that were written are data
  std::string explanation;  ///< what was seen when not exact: "8192 bytes written, 4 MiB are data"
};

/// Makes an unnamed file of `size_bytes` in `directory` with one odd page of data and one odd page
/// of written zeros, syncs it, and compares what SEEK_DATA reports with what was written. Sizes
/// matter: tmpfs with huge=within_size is exact for small files only. Costs one small fsync.
Result<HoleProbe> probe_holes(int directory, std::uint64_t size_bytes, const std::string& object);

}  // namespace lamina::sys
