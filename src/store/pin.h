// A pin keeps the files that one running VM was resumed from, for as long as the VM runs.
//
//   <store>/.vms/<pid>-<start time>/       one VM; locked by the process that changes it
//     vm.json                              the VM's process, and how it was resumed
//     base/                                hard links to a snapshot: the state that the VM's dirty
//                                          bits count from
//
// The page server and the VM's next diff use the pin, not the snapshot's name, which may be
// replaced, merged or removed meanwhile. Each VM has a pin of its own, also if several were resumed
// from one snapshot. When a pause was acknowledged and its diff is complete, `base` is exchanged
// atomically for the new state. Both have the same contents in every block that the VM has not
// touched since its resume, so a page server may go on with either.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "lamina/uuid.h"
#include "os/lock.h"
#include "store/jail_directory.h"
#include "store/snapshot_directory.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina::store {

inline constexpr const char* kPinFactsName = "vm.json";
inline constexpr const char* kPinBaseName = "base";

/// vm.json.
struct PinFacts {
  StoreIdentity belongs_to;  ///< set by Pin::write_facts()
  pid_t pid = -1;
  /// Clock ticks since boot. With pid and boot_id it identifies the process.
  std::uint64_t start_time = 0;
  std::string boot_id;              ///< empty: the VM has ended (Pin::adopt())
  std::uint64_t pid_namespace = 0;  ///< 0: unknown
  std::uint32_t uid = 0;            ///< of the VM's process
  std::string api_socket;           ///< absolute path, as this process sees it
  std::string jail;                 ///< root directory of the VM's process; empty: not in a jail
  /// A directory in the jail for this VM, removed with the pin; empty: none.
  JailDirectory jail_directory;
  std::string
      snapshot;  ///< name of the snapshot it was resumed from or last paused to; may be empty
  /// The memory is served by page faults. Pages that the guest has only read may then be dirty, so
  /// the next diff is compared with its base.
  bool by_page_faults = false;
  /// Dirty bits may have been lost: the next memory file must be a full one.
  bool needs_full = false;
  /// The base is a pause that was not on the disk when the VM was resumed from it, and its layer
  /// may be lost in an error of the disk: until that is settled, the next memory file must be a
  /// full one (live_fork.cc).
  bool base_in_flight = false;
  /// What the page server does for this VM; absent: what the server was started with.
  std::optional<Populate> populate;
  std::optional<bool> record;         ///< every touch
  std::optional<bool> record_faults;  ///< only faults; absent: no
  std::optional<Uuid> map;            ///< pause id of the materialized file that the VM maps
  std::string since;                  ///< RFC 3339, UTC

  bool operator==(const PinFacts&) const = default;
};

std::string encode_pin_facts(const PinFacts& facts);
/// kCorrupt: the message names the field that is missing or wrong. Unknown fields are ignored.
Result<PinFacts> decode_pin_facts(std::span<const std::byte> bytes);

/// Reads vm.json of the pin at `path`, without its lock. kNotFound: there is none.
Result<PinFacts> read_pin_facts(const std::string& path);

/// The same. kFailed if the pin belongs to another store than `here`.
Result<PinFacts> read_own_pin_facts(const std::string& path, const StoreIdentity& here);

/// True while the process that the facts describe runs. An error if that cannot be found out (from
/// most other pid namespaces, or without /proc), or if the process runs in another pid namespace,
/// where its pid is another. REQUIRES: the facts were written on this host.
Result<bool> is_running(const PinFacts& facts);

/// A VM's pin, which is locked while this object exists. The destructor leaves the directory in
/// place.
class Pin {
 public:
  /// Makes the directory if it is missing, and locks it. kBusy: another operation on this VM holds
  /// the lock. kFailed: a VM of an earlier boot has left the pin (run recover first), or another
  /// failure.
  static Result<Pin> claim(const Store& store, pid_t pid, std::uint64_t start_time);

  /// Locks an existing pin. Empty if there is none. kBusy as for claim().
  static Result<std::optional<Pin>> claim_existing(const Store& store, const std::string& name);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string path() const;
  [[nodiscard]] int directory() const { return directory_.get(); }
  [[nodiscard]] std::string base_path() const { return path() + "/" + kPinBaseName; }

  /// Absent in a pin that was just made, and in one of another store.
  [[nodiscard]] const std::optional<PinFacts>& facts() const { return facts_; }

  /// Why the pin belongs to another store, of which this one is a copy; empty: it is this store's.
  /// A pause or resume of the VM in this store takes the pin over by write_facts(). Other
  /// operations ignore it.
  [[nodiscard]] const std::string& why_foreign() const { return why_foreign_; }

  /// Makes another store's pin this store's. From then on its VM counts as ended, and it names
  /// nothing outside the store. It is only used to complete pauses whose diffs count from it.
  Status adopt();

  /// Replaces vm.json and syncs it.
  Status write_facts(const PinFacts& facts);

  /// The same without a sync: a power failure may bring the old one back. For facts that only
  /// matter while the VM runs.
  Status write_facts_unsynced(const PinFacts& facts);

  [[nodiscard]] bool has_base() const;

  /// Makes `snapshot` the base, atomically and synced: a crash leaves the old or the new one.
  Status set_base(const OpenSnapshot& snapshot);

  /// set_base() and then write_facts(), with one sync of the directory. A crash of the process
  /// leaves the first of the two, or both; a power failure leaves any of them. So for facts that,
  /// beside the old base, only matter while the VM runs.
  Status set_base_and_facts(const OpenSnapshot& snapshot, const PinFacts& facts);

  /// Removes the pin. A rename takes it away from its name before its files are removed.
  Status release();

 private:
  Pin(const Store& store, std::string name) : store_(&store), name_(std::move(name)) {}

  static Result<std::optional<Pin>> lock(const Store& store, const std::string& name);
  Status load_facts();
  /// Syncs the area if that may not have been done for this pin.
  [[nodiscard]] Status sync_name() const;
  /// Makes `snapshot` the base, unsynced. The old base is in the staging directory, which must be
  /// kept until the pin's directory is synced.
  Result<Staging> exchange_base(const OpenSnapshot& snapshot);

  const Store* store_;
  std::string name_;
  os::LockedFd directory_;
  std::optional<PinFacts> facts_;  ///< absent in a foreign pin
  std::optional<PinFacts> foreign_facts_;
  std::string why_foreign_;
};

/// The names of the pins of the store at `path`, sorted.
Result<std::vector<std::string>> list_pins(const std::string& path);

}  // namespace lamina::store
