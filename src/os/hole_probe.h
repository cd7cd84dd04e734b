// Tests whether a file system reports holes exactly, by writing a probe file.
//
// No property of a file system tells: st_blksize is 4096 on tmpfs with huge pages, which is exact
// for small files and coarse for large ones, and one file system can be exact in one directory,
// mount or file only. So a probe file is created in the same directory and examined.
//
// Two things can go wrong:
//
//   coarse   pages around a written page are reported as written (tmpfs with 2 MiB pages, xfs with
//            64 KiB blocks, a file system without holes)
//   filled   preallocated storage that was never written is reported as written: because it was
//            read and there is no FIEMAP, because it was preallocated twice (tmpfs), or because the
//            file system zeroes around a written page (ext4 with dioread_lock)
//
// The result applies to files on the same file system only, so a probe records which one it was.
// Being in the same directory is not enough: a file may be a mount point, and a file from an
// overlay's lower layer is on another file system than new files beside it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "os/file.h"

namespace lamina::os {

struct HoleProbe {
  /// In a file that was not preallocated, exactly the written pages are reported as written, even
  /// after the pages around them were read.
  bool is_exact = false;
  std::string explanation;  ///< what was reported instead, if not exact
  /// The same for a preallocated file.
  bool is_exact_when_preallocated = false;
  bool distinguishes_preallocated = false;  ///< see FileMap

  FileFacts probed;         ///< of the probe file
  bool is_overlay = false;  ///< the probe file is in an overlay

  /// True if the file with these facts is certain to be on the file system that was probed.
  [[nodiscard]] bool applies_to(const FileFacts& file) const;
};

/// Creates an unnamed file of `size_bytes` in `directory`; writes an odd page of data, one of
/// zeros, and one in a preallocated range; syncs it; reads the pages around them; and compares the
/// result of map_file() with what was written. The size matters: tmpfs with huge=within_size is
/// exact for small files only. Costs one small fsync.
Result<HoleProbe> probe_holes(int directory, std::uint64_t size_bytes, const std::string& object);

/// True for the name of a probe file. Without O_TMPFILE the file has a name for a moment, which may
/// reappear after a power failure.
bool is_hole_probe(std::string_view name);

}  // namespace lamina::os
