#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina {

struct VerifyOptions {
  std::string snapshot{};
  std::optional<std::string> against{};  ///< a memory file that the snapshot should resolve to
  Progress* progress = nullptr;          ///< may be null
};

struct VerifyReport {
  std::uint64_t checked_blocks = 0;    ///< read and compared with their checksums, live and dead
  std::uint64_t unchecked_blocks = 0;  ///< in layers without checksums
  std::uint64_t corrupt_blocks = 0;
  std::uint64_t corrupt_live_blocks = 0;  ///< of them, how many this snapshot uses
  bool vmstate_corrupt = false;
  std::uint64_t compared_blocks = 0;
  std::uint64_t different_blocks = 0;
  std::vector<std::string> problems;  ///< one line each, the first hundred of a kind

  [[nodiscard]] bool is_intact() const { return corrupt_blocks == 0 && !vmstate_corrupt; }
  [[nodiscard]] bool is_equal() const { return different_blocks == 0; }
};

/// Checks the structure (as every reader does: a fault there is kCorrupt), every stored block
/// against its checksum, the VM state against its digest, and the memory against `against`. Wrong
/// blocks are counted in the report, not errors.
Result<VerifyReport> verify(const VerifyOptions& options);

}  // namespace lamina
