// Whether the holes of a file can be told from what was written to it, tried out.
//
// No property of a file system answers that: st_blksize says nothing (tmpfs with huge pages is
// exact for small files and coarse for large ones, and says 4096 for both), and the same file
// system can be exact in one directory, mount or file only. So a file is made beside the one in
// question, and looked at.
//
// Two things can go wrong:
//
//   coarse   what is around a written page is reported as written too (tmpfs with 2 MiB pages, xfs
//            with 64 KiB blocks, a file system that knows no holes)
//   filled   preallocated storage that was never written is reported as written: because somebody
//            read it and there is no FIEMAP to ask, because it was preallocated twice (tmpfs), or
//            because the file system writes zeros around a page of it (ext4 with dioread_lock)
//
// What is found holds for files on the same file system only, so a probe also says which that is.
// The name of a directory is not enough: a file may be mounted by itself, and a file of an
// overlay's lower layer is in another file system than what is made beside it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "os/file.h"

namespace lamina::os {

struct HoleProbe {
  /// Exactly the written pages of a file that was not preallocated are reported as written, also
  /// after what is around them was read.
  bool is_exact = false;
  std::string explanation;  ///< what was seen when not exact
  /// The same of a preallocated file.
  bool is_exact_when_preallocated = false;
  bool tells_preallocated = false;  ///< as FileMap

  FileFacts probed;         ///< of the file that was tried
  bool is_overlay = false;  ///< it is in an overlay

  /// True when the file with these facts is proven to be in the file system that was probed.
  [[nodiscard]] bool holds_for(const FileFacts& file) const;
};

/// Makes an unnamed file of `size_bytes` in `directory`, writes an odd page of data, one of zeros,
/// and one into a preallocated run, syncs it, reads what is around them, and compares what
/// map_file() reports with what was written. Sizes matter: tmpfs with huge=within_size is exact for
/// small files only. Costs one small fsync.
Result<HoleProbe> probe_holes(int directory, std::uint64_t size_bytes, const std::string& object);

/// True for the name that a probe's file has for a moment where files without a name are unknown
/// (O_TMPFILE); a power failure may bring it back.
bool is_hole_probe(std::string_view name);

}  // namespace lamina::os
