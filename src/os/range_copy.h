// Copying byte ranges between files inside the kernel.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Makes `destination` share storage with a range of `source` (FICLONERANGE). False if these files
/// cannot share: different file systems, no reflink, or offsets that are not multiples of the file
/// system's block size.
Result<bool> clone_range(int source, std::uint64_t source_offset, int destination,
                         std::uint64_t destination_offset, std::uint64_t length,
                         const std::string& destination_object);

/// Copies a range with copy_file_range(2). False if these files do not support it; then nothing was
/// copied. kCorrupt if the source ends early.
Result<bool> kernel_copy_range(int source, std::uint64_t source_offset, int destination,
                               std::uint64_t destination_offset, std::uint64_t length,
                               const std::string& source_object,
                               const std::string& destination_object);

/// Copies all `size_bytes` of `source` to the empty file `destination` as cheaply as the file
/// systems allow: clone, else copy_file_range of the data, else read and write. Keeps holes.
/// `progress` may be null: told of bytes that are copied (a clone is none), and asked to stop after
/// every 64 MiB; then kInterrupted.
Status copy_file(int source, int destination, std::uint64_t size_bytes,
                 const std::string& source_object, const std::string& destination_object,
                 Progress* progress = nullptr);

/// The same by reading and writing, so that no storage is shared with `source`.
Status copy_through_memory(int source, int destination, std::uint64_t size_bytes,
                           const std::string& source_object, const std::string& destination_object);

/// Creates the file `name` (which must not exist) in `directory` as a copy of `source`, as
/// copy_file() does, and returns it open for writing. Not synced.
Result<Fd> copy_to_new_file(int source, std::uint64_t size_bytes, const std::string& source_object,
                            int directory, const std::string& name, const std::string& object,
                            Progress* progress = nullptr);

}  // namespace lamina::os
