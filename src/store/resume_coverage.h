// How much of what the last resumes of a pause needed was in its working set, for people.
//
//   <store>/.counts/<pause id>@<store>.coverage     a text, one line for each resume
//
// A line: seconds since the epoch, "replayed" or "not", blocks used, blocks of them in the set. A
// line is appended by one write. The file has at most some 4 KiB: then its last lines replace it.
// Nothing is synced: a power failure may lose the last lines. Lines that cannot be read are
// ignored. It is removed with the resume count.
#pragma once

#include <string_view>
#include <vector>

#include "lamina/inspect.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/store_identity.h"

namespace lamina::store {

/// The number of resumes that are kept.
inline constexpr std::size_t kMaxCoverages = 16;

/// Adds a line; sets its time to now. `store`: the descriptor of the store at `path`.
Status add_coverage(int store, const std::string& path, const Uuid& pause_id,
                    const ResumeCoverage& coverage);

/// The last kMaxCoverages, oldest first; empty if there are none, or they cannot be read.
std::vector<ResumeCoverage> last_coverages(int store, const StoreIdentity& identity,
                                           const Uuid& pause_id);

/// The lines of a file. Pure.
std::vector<ResumeCoverage> decode_coverages(std::string_view text);

}  // namespace lamina::store
