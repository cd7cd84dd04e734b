// The snapshots that are served, open: a process that is forked from here reads the same layers,
// whatever is published under their names meanwhile.
//
// A snapshot is open for as long as a VM is served from it (or, when it was named at the start, for
// as long as VMs may connect), and is shared by all VMs that may have the very same one. Which that
// is for pins is told by the header's file: pins are hard links to it, so VMs that were forked from
// one snapshot share it, and a pin whose base was exchanged meanwhile does not share what the
// others have. Neither the name of a snapshot nor its pause id would do.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "os/file.h"
#include "pager/session.h"
#include "pager/vm_state.h"
#include "server/pinned_vm.h"
#include "server/snapshot_request.h"
#include "server/store_place.h"

namespace lamina::server {

/// What one VM is served. Copies share.
struct Service {
  std::shared_ptr<const Snapshot> snapshot;
  std::string path;  ///< for the VM's record: where it is found again; absolute
  /// What is filled without a fault; null: nothing.
  std::shared_ptr<const pager::PopulatePlan> plan;
  std::string recorded_to;  ///< path of the snapshot that gets the working set; empty: none
  bool record = false;
};

/// The table of what is open. Used by one thread; what it gives may be let go by any.
///
/// A VM is served in three steps, of which only the second may take long: request_for() says what
/// it needs, read_files() reads it (any thread), add() puts it into the table. find_open() saves
/// the second one. open(), open_pin() and find() take all steps at once.
class Snapshots {
 public:
  /// `populate` and `record` are for VMs whose pins do not say it.
  Snapshots(Populate populate, bool record) : populate_(populate), record_(record) {}

  /// Whose pins are served; it must outlive this. Pins on record are looked for where it is now.
  void set_store(const StorePlace& store) { store_ = &store; }

  /// The base of a pin.
  [[nodiscard]] SnapshotRequest request_for(const VmPin& pin) const;

  /// What a VM goes on with: its pin's base, whichever state that is by now (what the VM has not
  /// touched is the same in all of them); or, without a pin, the snapshot that it was resumed from.
  [[nodiscard]] SnapshotRequest request_for(const pager::VmRecord& record) const;

  /// The service, where all that it needs is open: then nothing is read but small facts. Else
  /// `request` gets its key, and what is open of it. kCorrupt and kFailed as add().
  Result<std::optional<Service>> find_open(SnapshotRequest& request,
                                           std::vector<std::string>& notes);

  /// Takes what was read for `request`. kCorrupt when it is not of the VM's size, kFailed when it
  /// is another pause than the request asks for. A working set that is to be replayed and cannot be
  /// used is worth a note.
  Result<Service> add(const SnapshotRequest& request, SnapshotFiles files,
                      std::vector<std::string>& notes);

  /// Opens a snapshot by its name, and keeps it open until this goes.
  Result<Service> open(const std::string& path, std::vector<std::string>& notes);

  /// Opens the base of a pin, unless it is open.
  Result<Service> open_pin(const VmPin& pin, std::vector<std::string>& notes);

  /// Opens what a VM goes on with, unless it is open.
  Result<Service> find(const pager::VmRecord& record, std::vector<std::string>& notes);

  /// How many snapshots are open.
  [[nodiscard]] std::size_t open_count() const;

 private:
  using Plan = std::shared_ptr<const pager::PopulatePlan>;

  Result<Service> open_now(SnapshotRequest request, std::vector<std::string>& notes);
  std::shared_ptr<const Snapshot> keep(Snapshot snapshot);
  [[nodiscard]] std::shared_ptr<const Snapshot> find_header(const os::FileFacts& header) const;
  [[nodiscard]] std::shared_ptr<const Snapshot> find_named(const SnapshotRequest& request) const;
  [[nodiscard]] Plan find_replay(const os::FileFacts& file, bool rest) const;
  /// The plan of a snapshot that is open; nothing when a working set must be read first.
  std::optional<Plan> find_plan(const SnapshotRequest& request, const Snapshot& snapshot,
                                std::vector<std::string>& notes) const;
  Plan keep_replay(Replay replay);

  /// The record, with the place where the pin is now.
  [[nodiscard]] pager::VmRecord in_its_place(const pager::VmRecord& record) const;

  Populate populate_;
  bool record_;
  const StorePlace* store_ = nullptr;
  std::vector<Service> named_;
  std::vector<std::weak_ptr<const Snapshot>> open_;
  std::vector<std::weak_ptr<const Replay>> replays_;
};

}  // namespace lamina::server
