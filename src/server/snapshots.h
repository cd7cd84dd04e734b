// The snapshots that are served, open: whoever is forked from here reads the same layers, whatever
// is published under their names meanwhile.
//
// A snapshot is open for as long as a VM is served from it (or, when it was named at the start, for
// as long as anybody may connect), and is shared by all VMs that may have the very same one. Which
// that is for pins is told by the header's file: pins are hard links to it, so VMs that were forked
// from one snapshot share it, and a pin whose base was exchanged meanwhile does not share what the
// others have. Neither the name of a snapshot nor its pause id would do.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "os/fd.h"
#include "os/file.h"
#include "pager/session.h"
#include "server/pinned_vm.h"
#include "server/store_place.h"
#include "store/snapshot_directory.h"

namespace lamina::server {

struct Snapshot {
  std::string path;  ///< where it was opened, absolute
  store::OpenSnapshot opened;
  os::Fd header;  ///< kept open: the numbers of its file cannot be given to another one
  os::FileFacts header_facts;
};

/// What one VM is served. Copies share.
struct Service {
  std::shared_ptr<const Snapshot> snapshot;
  std::string path;  ///< for the VM's record: where it is found again; absolute
  /// What is filled without a fault; null: nothing.
  std::shared_ptr<const pager::PopulatePlan> plan;
  std::string recorded_to;  ///< path of the snapshot that gets the working set; empty: none
  bool record = false;
};

/// Used by one thread; what it gives may be let go by any.
class Snapshots {
 public:
  /// `populate` and `record` are for VMs whose pins do not say it.
  Snapshots(Populate populate, bool record) : populate_(populate), record_(record) {}

  /// Whose pins are served; it must outlive this. Pins on record are looked for where it is now.
  void set_store(const StorePlace& store) { store_ = &store; }

  /// Opens a snapshot by its name, and keeps it open until this goes. A working set that is to be
  /// replayed and cannot be used is worth a note.
  Result<Service> open(const std::string& path, std::vector<std::string>& notes);

  /// Opens the base of a pin, unless it is open.
  Result<Service> open_pin(const VmPin& pin, std::vector<std::string>& notes);

  /// What a VM goes on with: its pin's base, whichever state that is by now (what the VM has not
  /// touched is the same in all of them); or, without a pin, the snapshot that it was resumed from:
  /// one that is open, or its path opened, and kFailed when another pause is there now.
  Result<Service> find(const pager::VmRecord& record, std::vector<std::string>& notes);

  /// How many snapshots are open.
  [[nodiscard]] std::size_t open_count() const;

 private:
  struct Replay;

  /// The snapshot at `path`, shared when the same header is open.
  Result<std::shared_ptr<const Snapshot>> share(const std::string& path);
  std::shared_ptr<const Snapshot> keep(Snapshot snapshot);
  [[nodiscard]] std::shared_ptr<const Snapshot> find_open(const os::FileFacts& header) const;
  Result<Service> find_named(const pager::VmRecord& record, std::vector<std::string>& notes);
  std::shared_ptr<const pager::PopulatePlan> plan_for(const std::string& path, int directory,
                                                      std::uint64_t memory_bytes, Populate populate,
                                                      std::vector<std::string>& notes);
  Result<std::shared_ptr<const pager::PopulatePlan>> replay(const std::string& path, int directory,
                                                            std::uint64_t memory_bytes, bool rest);

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
