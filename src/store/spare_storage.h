// Frees storage of an adopted layer that no reader needs (FALLOC_FL_PUNCH_HOLE): zeros that the
// trailer lists, and blocks that equal the base's.
//
// That is done after publication: nothing waits for it then, a crash only costs space, and until
// then an adoption can be undone with the file unchanged. Blocks that a header refers to are not
// touched. On some devices one call takes milliseconds (ext4 with discard), so the time is limited,
// and the longest runs come first. The remaining storage is freed with the layer, or by a full
// merge.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "format/trailer.h"
#include "os/fd.h"

namespace lamina::store {

class SpareStorage {
 public:
  static constexpr std::chrono::milliseconds kTimeLimit{100};

  /// Without runs.
  SpareStorage() = default;
  /// `layer` must be open for writing.
  SpareStorage(os::Fd layer, std::vector<BlockRun> runs);

  /// Frees runs until the time is over, at least one, and closes the layer. `path` is for messages.
  /// `notes` tells how much storage was kept, if it is worth knowing. REQUIRES: the layer is
  /// published.
  void release(const std::string& path, std::vector<std::string>& notes,
               std::chrono::milliseconds limit = kTimeLimit);

 private:
  os::Fd layer_;
  std::vector<BlockRun> runs_;
};

}  // namespace lamina::store
