// Checking the data of a snapshot.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina {

struct VerifyOptions {
  std::string snapshot{};                ///< path: STORE/NAME
  std::optional<std::string> against{};  ///< path of a memory file with the expected memory
  Progress* progress = nullptr;          ///< may be null
};

/// A block has 4096 bytes.
struct VerifyReport {
  std::uint64_t checked_blocks = 0;  ///< compared with their checksums, used by the snapshot or not
  std::uint64_t unchecked_blocks = 0;  ///< in layers without checksums
  std::uint64_t corrupt_blocks = 0;
  std::uint64_t corrupt_live_blocks = 0;  ///< of them, how many this snapshot uses
  bool vmstate_corrupt = false;
  std::uint64_t compared_blocks = 0;   ///< compared with `against`
  std::uint64_t different_blocks = 0;  ///< of them, how many differ
  std::vector<std::string> problems;   ///< one line each, the first hundred of a kind

  /// All that has a checksum is right. `unchecked_blocks` have none.
  [[nodiscard]] bool is_intact() const { return corrupt_blocks == 0 && !vmstate_corrupt; }
  /// The memory is that of `against`; true without it.
  [[nodiscard]] bool is_equal() const { return different_blocks == 0; }
};

/// Reads all data of a snapshot: compares every stored block with its checksum, the VM state with
/// its digest, and the memory with `against`. Only reads. Success means that the report is
/// complete, not that the data is right: wrong blocks are counted in it (is_intact(), is_equal()).
///
/// kCorrupt: the header or a trailer is damaged, so that nothing could be checked; kNotFound: the
/// snapshot, a layer or `against` does not exist; kUsage: `against` is a directory; kInterrupted;
/// else kFailed. Thread-safe.
Result<VerifyReport> verify(const VerifyOptions& options);

}  // namespace lamina
