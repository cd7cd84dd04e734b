// An open store, and the locks of its snapshots' names.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "store/store_identity.h"

namespace lamina::store {

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
  friend Result<Store> open_store(const std::string& path, std::vector<std::string>& notes);

  Store() = default;
  /// Null when another has it.
  [[nodiscard]] Result<std::shared_ptr<NameLock::Held>> take_lock(const std::string& name,
                                                                  bool wait) const;

  std::string path_;
  StoreIdentity identity_;
  os::Fd directory_;
  os::Fd temporary_;
  os::Fd pending_;
  os::Fd vms_;
  os::Fd locks_;
};

}  // namespace lamina::store
