// Storage of an adopted layer that nobody will read: zeros that the trailer lists, and blocks that
// are as in the base.
//
// It is given back after publication: nothing waits for it then, a crash costs space only, and an
// adoption that is undone gives back the very file. No byte that a header refers to is touched. On
// some devices one call takes milliseconds (ext4 with discard), so the time is limited and the
// longest runs come first. The storage that is left goes with the layer, or with a full merge.
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

  /// Nothing to give back.
  SpareStorage() = default;
  /// `layer` must be open for writing.
  SpareStorage(os::Fd layer, std::vector<BlockRun> runs);

  /// Gives back what it can within the limit, one call at least, and closes the layer. `path` is
  /// for messages. Notes say what keeps its storage and is worth knowing of. REQUIRES: the layer is
  /// published.
  void give_back(const std::string& path, std::vector<std::string>& notes,
                 std::chrono::milliseconds limit = kTimeLimit);

 private:
  os::Fd layer_;
  std::vector<BlockRun> runs_;
};

}  // namespace lamina::store
