// The snapshots that are served, open: whoever is forked from here reads the same layers, whatever
// is published under their names meanwhile.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "pager/session.h"
#include "server/vm.h"
#include "store/snapshot_directory.h"

namespace lamina::server {

struct Snapshot {
  ServedSnapshot facts;
  store::OpenSnapshot opened;
  pager::PopulatePlan plan;
  bool populates = false;
};

class Snapshots {
 public:
  explicit Snapshots(Populate populate) : populate_(populate) {}

  /// Opens a snapshot and, when it is to be replayed, its working set; one that cannot be used is
  /// worth a note.
  Result<std::uint32_t> open(const std::string& path, std::vector<std::string>& notes);

  /// The snapshot that a VM was resumed from: one that is open, or its path opened. kFailed when
  /// another pause is there now.
  Result<std::uint32_t> find(const pager::VmRecord& record, std::vector<std::string>& notes);

  [[nodiscard]] const Snapshot& at(std::uint32_t index) const { return *snapshots_[index]; }
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(snapshots_.size()); }

 private:
  Populate populate_;
  std::vector<std::unique_ptr<Snapshot>> snapshots_;
};

/// Stores the blocks that `vm` recorded as the snapshot's working set, after those that were
/// replayed.
Status save_working_set(const Snapshot& snapshot, const pager::VmState& vm);

}  // namespace lamina::server
