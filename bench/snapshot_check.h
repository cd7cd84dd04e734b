// Whether what was stored is what the guest had: run once per contender, outside the timed part.
#pragma once

#include <map>
#include <string>

#include "guest_memory.h"
#include "lamina/result.h"
#include "plain_mapping.h"

namespace lamina::bench {

/// Opens the snapshot at `path` and compares every block, checksums included, with `memory`.
Status check_snapshot(const std::string& path, const GuestMemory& memory);

/// The same for what the plain reference stored; `files` names each build's.
Status check_plain(const PlainHeader& header, const std::map<std::string, std::string>& files,
                   const GuestMemory& memory);

/// The same for a memory file.
Status check_memory_file(const std::string& path, const GuestMemory& memory);

}  // namespace lamina::bench
