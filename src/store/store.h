// A store: a directory whose entries are snapshots, with lamina's own directories beside them.
//
//   <store>/<name>/          snapshots
//   <store>/.tmp/<id>/       what is being built and can be built again; locked by its builder
//   <store>/.pending/<id>/   what is being built and holds the only copy of something
//   <store>/.vms/<vm>/       pins: what each running VM was resumed from (store/pin.h)
//   <store>/.maps/<pause>    materialized memory files that VMs map
//   <store>/.counts/<…>      as many bytes as a pause was resumed (store/resume_count.h)
//   <store>/.lock/<name>     lock files, never renamed; those of names that are gone are removed
//
// All of it belongs to the user who writes it (sys/owner.h), and is opened from the store's
// descriptor without following links (sys/path_walk.h).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "store/store_identity.h"
#include "sys/fd.h"

namespace lamina::store {

inline constexpr const char* kTemporaryArea = ".tmp";
inline constexpr const char* kPendingArea = ".pending";
inline constexpr const char* kVmsArea = ".vms";
inline constexpr const char* kMapsArea = ".maps";
inline constexpr const char* kCountsArea = ".counts";
inline constexpr const char* kLockArea = ".lock";

/// True for the name of one of lamina's own directories in a store.
bool is_area_name(std::string_view name);

/// Opens the directory of a snapshot, a pin or a pin's base by its path, for reading. The store is
/// where the caller says; from there on no link is followed, except one that has a snapshot's name
/// and leads to another name in the same directory.
Result<sys::Fd> open_in_store(const std::string& path);

/// Opens `.vms` of a store that is written, and makes it where it is missing; for those who keep
/// their locks and sockets in it without opening the whole store.
Result<sys::Fd> make_vms_area(const std::string& store);

/// kUsage when `path`, which exists, leads into one of a store's own directories: what is in there
/// looks like snapshots (pins, what is being built), and no snapshot may be made or removed there.
Status refuse_area(const std::string& path);

/// Holds the lock of a snapshot's name until it goes. If there is no snapshot of that name then,
/// the lock file goes too.
class NameLock {
 private:
  friend class Store;
  struct Held;
  explicit NameLock(std::shared_ptr<Held> held) : held_(std::move(held)) {}

  std::shared_ptr<Held> held_;
};

/// An open store that may be written.
class Store {
 public:
  /// Opens the directory `path` for writing: makes lamina's own directories where they are missing
  /// (trying out first whether the file system can exchange directories: kFailed when not), and
  /// cleans up what killed processes left: removes what can be made again, and puts memory files
  /// whose adoption did not end back where they came from (not those of another store that this one
  /// is a copy of). What it did that a person should know goes to `notes`.
  static Result<Store> open(const std::string& path, std::vector<std::string>& notes);

  /// True when `path` has been opened as a store before.
  static bool exists(const std::string& path);

  [[nodiscard]] int fd() const { return directory_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// What records of this store belong to.
  [[nodiscard]] const StoreIdentity& identity() const { return identity_; }
  [[nodiscard]] int temporary_area() const { return temporary_.get(); }
  [[nodiscard]] int pending_area() const { return pending_.get(); }
  [[nodiscard]] int vms_area() const { return vms_.get(); }

  /// Takes the lock of `name` without waiting; kBusy when another has it. A symbolic link is
  /// refused (kFailed): its name's lock would not be that of the snapshot.
  [[nodiscard]] Result<NameLock> lock(const std::string& name) const;

  /// The same, but waits for as long as another has it.
  [[nodiscard]] Result<NameLock> wait_for_lock(const std::string& name) const;

  /// Removes the lock files of names that have no snapshot and that nobody holds: killed processes
  /// leave them.
  [[nodiscard]] Status remove_unused_locks() const;

 private:
  Store() = default;
  /// Null when another has it.
  [[nodiscard]] Result<std::shared_ptr<NameLock::Held>> take_lock(const std::string& name,
                                                                  bool wait) const;

  std::string path_;
  StoreIdentity identity_;
  sys::Fd directory_;
  sys::Fd temporary_;
  sys::Fd pending_;
  sys::Fd vms_;
  sys::Fd locks_;
};

}  // namespace lamina::store
