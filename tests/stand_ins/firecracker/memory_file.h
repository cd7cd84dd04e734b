// Memory files, written as Firecracker writes them.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"
#include "stand_ins/firecracker/guest.h"

namespace lamina::tests {

enum class MemoryFileKind : std::uint8_t {
  kFull,  ///< every page that is plugged, zeros too
  kDiff,  ///< the dirty pages; the others are not written: holes in a fresh file
};

/// Whether a disk that fills up is played: half of the pages are written, then an error.
enum class Disk : std::uint8_t { kReal, kFull };

/// Writes the memory of a paused guest to `path`, clears the dirty bits once all of it is written,
/// and only then syncs it. An existing file of another size is emptied first; into one of the same
/// size the pages are written in place. On failure before the sync the bits stay. Errors are in
/// Firecracker's words.
Status write_memory_file(const std::string& path, MemoryFileKind kind, Guest& guest, Disk disk);

}  // namespace lamina::tests
