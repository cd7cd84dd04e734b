// A pin: what one running VM was resumed from, kept for as long as it runs.
//
//   <store>/.vms/<pid>-<start time>/       one VM; locked by whoever changes it
//     vm.json                              which VM it is, and how it was resumed
//     base/                                hard links to a snapshot: the state that the VM's dirty
//                                          bits count from
//
// The page server, the next diff and a resume go by the pin, never by the snapshot's name, which
// may be replaced, merged or deleted meanwhile. Forks of one snapshot have pins of their own. When
// a pause was acknowledged and its diff is complete, `base` is exchanged for the new state in one
// step; both hold the same contents for every block that the VM has not touched since its resume,
// so a page server may go on with either.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "store/jail_directory.h"
#include "store/snapshot_directory.h"
#include "store/store.h"

namespace lamina::store {

inline constexpr const char* kPinFactsName = "vm.json";
inline constexpr const char* kPinBaseName = "base";

/// vm.json.
struct PinFacts {
  StoreIdentity belongs_to;  ///< put there by Pin::write_facts()
  pid_t pid = -1;
  std::uint64_t start_time = 0;  ///< clock ticks since boot; names one process with pid and boot_id
  std::string boot_id;  ///< of the VM; empty: it has ended, or is another store's (Pin::adopt())
  std::uint64_t pid_namespace = 0;  ///< 0: unknown
  std::uint32_t uid = 0;            ///< of the VM's process
  std::string api_socket;           ///< absolute, as we reach it
  std::string jail;                 ///< the VM's root directory as we see it; empty: none
  /// Made in the jail for this VM, and removed with the pin; empty: none.
  JailDirectory jail_directory;
  std::string snapshot;  ///< name that it was resumed from or last paused to; empty: none yet
  /// Pages that the guest only read may count as dirty: the next diff is compared with its base.
  bool by_page_faults = false;
  /// Dirty bits may have been lost: the next memory file must be a full one.
  bool needs_full = false;
  /// What the page server does for this VM, where it is not what the server was started with.
  std::optional<Populate> populate;
  std::optional<bool> record;
  std::optional<Uuid> map;  ///< pause id of the materialized file that the VM maps
  std::string since;        ///< RFC 3339, UTC

  bool operator==(const PinFacts&) const = default;
};

std::string encode_pin_facts(const PinFacts& facts);
/// kCorrupt names the field that is missing or wrong. Unknown fields are ignored.
Result<PinFacts> decode_pin_facts(std::span<const std::byte> bytes);

/// Reads vm.json of the pin directory at `path`, without any lock. kNotFound when there is none.
Result<PinFacts> read_pin_facts(const std::string& path);

/// The same, of a VM of the store `here` only: kFailed when the pin is another store's.
Result<PinFacts> read_own_pin_facts(const std::string& path, const StoreIdentity& here);

/// True while the very process runs that the facts are of. An error when that cannot be told (as
/// from most other pid namespaces, or without /proc), or when it runs in another pid namespace, in
/// which it has another pid than here. REQUIRES: the facts are of this host.
Result<bool> is_running(const PinFacts& facts);

/// A VM's pin, locked until this goes. The directory stays.
class Pin {
 public:
  /// Makes the directory when it is missing, and locks it. kBusy when another operation on this VM
  /// has it. What a VM of an earlier boot left under the name is an error (recover first).
  static Result<Pin> claim(const Store& store, pid_t pid, std::uint64_t start_time);

  /// Locks an existing pin; nothing when there is none (any more). kBusy as claim().
  static Result<std::optional<Pin>> claim_existing(const Store& store, const std::string& name);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string path() const;
  [[nodiscard]] int directory() const { return directory_.get(); }
  [[nodiscard]] std::string base_path() const { return path() + "/" + kPinBaseName; }

  /// Nothing in a pin that was just made, and in one of another store.
  [[nodiscard]] const std::optional<PinFacts>& facts() const { return facts_; }

  /// Why the pin is another store's (a copy of that one has it, too); empty: it is ours. Who pauses
  /// or resumes that VM here makes it ours by write_facts(); to all others it is not there.
  [[nodiscard]] const std::string& why_foreign() const { return why_foreign_; }

  /// Makes another store's pin ours. It says from then on that its VM has ended, and names nothing
  /// outside of the store: all that it is good for is to complete the pauses that count from it.
  Status adopt();

  /// Replaces vm.json, durably.
  Status write_facts(const PinFacts& facts);

  /// The same, but a power failure may bring the old one back: for what is of use only while the VM
  /// runs.
  Status note_facts(const PinFacts& facts);

  [[nodiscard]] bool has_base() const;

  /// Makes `snapshot` the base, durably, in one step: a crash leaves the old or the new one.
  Status set_base(const OpenSnapshot& snapshot);

  /// Removes the pin. Nothing of it is left under its name, whatever fails afterwards.
  Status release();

 private:
  Pin(const Store& store, std::string name, os::Fd directory)
      : store_(&store), name_(std::move(name)), directory_(std::move(directory)) {}

  static Result<std::optional<Pin>> lock(const Store& store, const std::string& name);
  Status load_facts();

  const Store* store_;
  std::string name_;
  os::Fd directory_;
  std::optional<PinFacts> facts_;  ///< while it is ours
  std::optional<PinFacts> foreign_facts_;
  std::string why_foreign_;
};

/// The names of a store's pins, sorted. `path` is the store's.
Result<std::vector<std::string>> list_pins(const std::string& path);

}  // namespace lamina::store
