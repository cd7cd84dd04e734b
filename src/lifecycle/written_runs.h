// Which parts of a diff were written when the VMM acknowledged it, recorded beside it until it is
// completed.
//
// Some file systems cannot tell written zeros from holes that were preallocated or read (on tmpfs a
// read through a mapping is enough). There the holes must be recorded before any other process can
// read the file; a queued diff may be read before it is completed. The record is not synced: holes
// on tmpfs do not survive a restart, and a damaged record counts as none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/sparse_file.h"

namespace lamina::lifecycle {

/// Name of the record in the directory of a pause.
inline constexpr const char* kWrittenRunsName = ".written";

/// Writes the record, replacing an earlier one.
Status write_written_runs(const std::vector<ByteRange>& runs, int directory,
                          const std::string& directory_path);

/// nullopt if there is none, it is damaged, or it does not fit a file of `memory_bytes`.
std::optional<std::vector<ByteRange>> read_written_runs(int directory,
                                                        const std::string& directory_path,
                                                        std::uint64_t memory_bytes);

}  // namespace lamina::lifecycle
