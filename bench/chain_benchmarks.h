// Benchmarks of one chain of eight layers on one file system.
#pragma once

#include <string>

#include "bench.h"
#include "lamina/result.h"
#include "snapshot_chain.h"

namespace lamina::bench {

/// Whether the chain's file system can share storage between files.
enum class Sharing : std::uint8_t { kReflink, kNone };

/// Merging all layers into one.
Status run_merge(Bench& bench, const SnapshotChain& chain, Sharing sharing);

/// What reads a whole snapshot: materialize and verify.
Status run_output(Bench& bench, const SnapshotChain& chain, Sharing sharing);

/// "merge/reflink" or "merge/copy", and so on.
std::string with_sharing(const std::string& what, Sharing sharing);

}  // namespace lamina::bench
