#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina {

struct ForkOptions {
  std::string snapshot{};
  std::string fork{};  ///< the new snapshot, in the same store or another
};

struct ForkReport {
  std::string fork;
  Uuid pause_id;  ///< that of the source: it is the same guest state
  std::uint64_t generation = 0;
  std::uint32_t linked_layers = 0;
  std::uint32_t copied_layers = 0;
  std::uint64_t linked_bytes = 0;  ///< allocated bytes of the linked layers
  std::uint64_t copied_bytes = 0;
  std::vector<std::string> notes;
};

/// Gives a snapshot a second name: a directory of hard links, independent of the first from then
/// on. Layers that cannot be linked (another file system, too many links) are copied, and noted.
/// Published by one rename: a crash leaves the fork whole or not there. kFailed when `fork` exists;
/// kBusy when another writer has that name, or the source is replaced meanwhile.
Result<ForkReport> fork_snapshot(const ForkOptions& options);

}  // namespace lamina
