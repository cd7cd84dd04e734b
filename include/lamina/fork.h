// Giving a snapshot a second name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina {

struct ForkOptions {
  std::string snapshot{};  ///< path of the source: STORE/NAME
  std::string fork{};      ///< path of the new snapshot, in the same store or another
  /// May be null. Told of layers that are copied, and may interrupt that. (A layer that is linked
  /// takes no time.)
  Progress* progress = nullptr;
};

struct ForkReport {
  std::string fork;  ///< path
  Uuid pause_id;     ///< the same as the source's: it is the same guest state
  std::uint64_t generation = 0;
  std::uint32_t linked_layers = 0;
  std::uint32_t copied_layers = 0;
  std::uint64_t linked_bytes = 0;  ///< allocated bytes of the linked layers
  std::uint64_t copied_bytes = 0;  ///< allocated bytes of the copies
  std::vector<std::string> notes;  ///< one line each
};

/// Makes a second snapshot of the same pause: a directory of hard links to all its files (layers,
/// VM state, attachments), independent of the first from then on. A layer that cannot be linked
/// (another file system, too many links) is copied, and a note says so. The fork is published by
/// one rename: a crash leaves all of it or nothing.
///
/// On failure there is no fork. kExists: `fork` exists; kBusy: another writer has the lock of that
/// name, or the source was replaced meanwhile; kUsage: not a name for a snapshot; kNotFound: the
/// source, or the directory of the fork's store; kCorrupt: the source's header; kNoSpace;
/// kInterrupted; else kFailed. Thread-safe.
Result<ForkReport> fork_snapshot(const ForkOptions& options);

}  // namespace lamina
