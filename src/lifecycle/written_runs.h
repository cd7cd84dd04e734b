// What a diff had written when the VMM acknowledged it, kept beside it until it is looked at.
//
// Where the file system does not tell preallocated or read holes from written zeros (tmpfs: a read
// through a mapping is enough), only the time before anybody could read the file does. A queued
// diff may be read by anybody before it is completed. The record is not synced: nothing reads
// holes across a restart of the machine, and a record that is torn counts as none.
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

/// Writes the record, anew if there is one.
Status write_written_runs(const std::vector<ByteRange>& runs, int directory,
                          const std::string& directory_path);

/// Nothing when there is none, it is damaged, or it does not fit a file of `memory_bytes`.
std::optional<std::vector<ByteRange>> read_written_runs(int directory,
                                                        const std::string& directory_path,
                                                        std::uint64_t memory_bytes);

}  // namespace lamina::lifecycle
