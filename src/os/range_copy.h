// Moving runs of bytes between files without passing them through our memory.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Shares the storage of a run of `source` with `destination` (FICLONERANGE). False when these
/// files cannot: other file system, no reflink, offsets that are no multiple of the file system's
/// block.
Result<bool> clone_range(int source, std::uint64_t source_offset, int destination,
                         std::uint64_t destination_offset, std::uint64_t length,
                         const std::string& destination_object);

/// Copies a run in the kernel (copy_file_range). False when these files cannot, and then nothing
/// has been copied. A source that ends early is kCorrupt.
Result<bool> kernel_copy_range(int source, std::uint64_t source_offset, int destination,
                               std::uint64_t destination_offset, std::uint64_t length,
                               const std::string& source_object,
                               const std::string& destination_object);

/// Makes the empty file `destination` a copy of all `size_bytes` of `source` as cheaply as the file
/// systems allow: clone, else kernel copy of the data runs, else read and write. Holes stay holes.
Status copy_file(int source, int destination, std::uint64_t size_bytes,
                 const std::string& source_object, const std::string& destination_object);

/// The same by reading and writing: nothing is shared with `source`, nor taken from its storage.
Status copy_through_memory(int source, int destination, std::uint64_t size_bytes,
                           const std::string& source_object, const std::string& destination_object);

/// Makes the file `name` (which must not exist) in `directory`, a copy of `source` as copy_file()
/// makes it, and returns it, open for writing. Not synced.
Result<Fd> copy_to_new_file(int source, std::uint64_t size_bytes, const std::string& source_object,
                            int directory, const std::string& name, const std::string& object);

}  // namespace lamina::os
