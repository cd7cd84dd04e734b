// A store: a directory whose entries are snapshots, with lamina's own directories beside them.
//
//   <store>/<name>/          snapshots
//   <store>/.tmp/<id>/       what is being built and can be built again; locked by its builder
//   <store>/.pending/<id>/   what is being built and holds the only copy of something
//   <store>/.vms/<vm>/       pins: what each running VM was resumed from (store/pin.h)
//   <store>/.maps/<pause>    materialized memory files that VMs map
//   <store>/.counts/<…>      as many bytes as a pause was resumed (store/resume_count.h)
//   <store>/.lock/<name>     lock files, never renamed, never removed
#pragma once

#include <string>
#include <string_view>
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

/// kUsage when `path`, which exists, leads into one of a store's own directories: what is in there
/// looks like snapshots (pins, what is being built), and no snapshot may be made or removed there.
Status refuse_area(const std::string& path);

/// Holds the lock of a snapshot's name until it goes.
class NameLock {
 public:
  explicit NameLock(sys::Fd fd) : fd_(std::move(fd)) {}

 private:
  sys::Fd fd_;
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

 private:
  Store() = default;
  [[nodiscard]] Result<sys::Fd> open_lock(const std::string& name, const std::string& path) const;

  std::string path_;
  StoreIdentity identity_;
  sys::Fd directory_;
  sys::Fd temporary_;
  sys::Fd pending_;
  sys::Fd vms_;
  sys::Fd locks_;
};

}  // namespace lamina::store
