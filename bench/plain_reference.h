// The original program's ingest and merge, in straightforward C++: what users gain is measured
// against this.
//
// The algorithm and its system calls are those of ProcessMemfile, ProcessMemfileWithParent and
// MergeDiffs: one read per 4 KiB block, holes included, a zero test by 8 bytes, one write per
// stored block, one lookup per block in a merge; a version 1 header. As there, zeros that a diff
// holds inherit the parent, nothing is synced and nothing is replaced atomically, so the original's
// times are those of a program that may lose what it was given.
#pragma once

#include <map>
#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "plain_mapping.h"

namespace lamina::bench {

struct PlainPaths {
  std::string data;
  std::string header;
};

/// Stores the non-zero blocks of a full memory file.
Result<PlainHeader> plain_ingest_full(const std::string& memory_file, const PlainPaths& out,
                                      const Uuid& build);

/// Stores the non-zero blocks of a diff over `parent`.
Result<PlainHeader> plain_ingest_diff(const std::string& memory_file, const PlainPaths& out,
                                      const PlainHeader& parent, const Uuid& build);

/// Copies every block of `header` that is not zeros into one file. `files` names each build's.
Result<PlainHeader> plain_merge(const PlainHeader& header,
                                const std::map<std::string, std::string>& files,
                                const PlainPaths& out);

}  // namespace lamina::bench
