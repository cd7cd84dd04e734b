// The table of open snapshots. A process that is forked from here reads the same layers, whatever
// is published under the snapshots' names meanwhile.
//
// A snapshot stays open while a VM is served from it (or, if it was named at the start, while VMs
// may connect). VMs share it if they may have exactly the same contents. For pins this is decided
// by the header's file (device and inode): the pins of VMs that were forked from one snapshot are
// hard links to one header, and a pin whose base was replaced has another one. Neither name nor
// pause id can decide this, because a base can be replaced while VMs run.
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

/// What one VM is served. Copies share the snapshot.
struct Service {
  std::shared_ptr<const Snapshot> snapshot;
  std::string path;  ///< for the VM's record, so that a later server finds it; absolute
  /// Which pages are filled without a fault; null: none.
  std::shared_ptr<const pager::PopulatePlan> plan;
  std::string recorded_to;  ///< path of the snapshot that gets the working set; empty: none
  Recorded record = Recorded::kNothing;
};

/// The table. Used by one thread; any thread may release a Service.
///
/// A VM is served in three steps, of which only the second may take long: request_for() says what
/// it needs, read_files() reads it (any thread), add() puts it into the table. find_open() saves
/// the second one. open_pin() and find() take all steps at once.
class Snapshots {
 public:
  /// `populate` and `record` apply to VMs whose pins do not set them.
  Snapshots(Populate populate, bool record) : populate_(populate), record_(record) {}

  /// Sets the store whose pins are served, which must outlive this. Pins are looked up where the
  /// store is now.
  void set_store(const StorePlace& store) { store_ = &store; }

  /// The request for a pin's base.
  [[nodiscard]] SnapshotRequest request_for(const VmPin& pin) const;

  /// The request for a VM on record: its pin's base, in whatever state that is now (blocks that the
  /// VM has not touched are the same in all of them); without a pin, the snapshot by name.
  [[nodiscard]] SnapshotRequest request_for(const pager::VmRecord& record) const;

  /// A snapshot that is named at the start. kNotFound if nothing has the name.
  [[nodiscard]] Result<SnapshotRequest> request_for_named(const std::string& path) const;

  /// The service, where all that it needs is open: then nothing is read but small facts. Else
  /// `request` gets its key, and what is open of it. kCorrupt and kFailed as add().
  Result<std::optional<Service>> find_open(SnapshotRequest& request,
                                           std::vector<std::string>& notes);

  /// Enters what was read for `request`. kCorrupt if its memory size is not the VM's, kFailed if it
  /// is another pause than requested. A working set that cannot be replayed causes a note.
  Result<Service> add(const SnapshotRequest& request, SnapshotFiles files,
                      std::vector<std::string>& notes);

  /// Keeps a snapshot that was named at the start open until this goes.
  void keep_named(const Service& service) { named_.push_back(service); }

  /// Opens the base of a pin, unless it is open.
  Result<Service> open_pin(const VmPin& pin, std::vector<std::string>& notes);

  /// Opens the snapshot of a VM on record, unless it is open.
  Result<Service> find(const pager::VmRecord& record, std::vector<std::string>& notes);

  /// Number of open snapshots.
  [[nodiscard]] std::size_t open_count() const;

 private:
  using Plan = std::shared_ptr<const pager::PopulatePlan>;

  Result<Service> open_now(SnapshotRequest request, std::vector<std::string>& notes);
  std::shared_ptr<const Snapshot> keep(Snapshot snapshot);
  [[nodiscard]] std::shared_ptr<const Snapshot> find_header(const os::FileFacts& header) const;
  [[nodiscard]] std::shared_ptr<const Snapshot> find_named(const SnapshotRequest& request) const;
  [[nodiscard]] Plan find_replay(const os::FileFacts& file, bool rest) const;
  /// The plan for an open snapshot; nullopt if a working set must be read first.
  std::optional<Plan> find_plan(const SnapshotRequest& request, const Snapshot& snapshot,
                                std::vector<std::string>& notes) const;
  Plan keep_replay(Replay replay);

  /// `record` with the current path of its pin.
  [[nodiscard]] pager::VmRecord in_its_place(const pager::VmRecord& record) const;

  Populate populate_;
  bool record_;
  const StorePlace* store_ = nullptr;
  std::vector<Service> named_;
  std::vector<std::weak_ptr<const Snapshot>> open_;
  std::vector<std::weak_ptr<const Replay>> replays_;
};

}  // namespace lamina::server
