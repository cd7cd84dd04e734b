// An open store, and the locks of snapshot names.
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

/// Holds the lock of a snapshot's name. The destructor releases it, and removes the lock file if
/// there is no snapshot of that name.
class NameLock {
 private:
  friend class Store;
  struct Held;
  explicit NameLock(std::shared_ptr<Held> held) : held_(std::move(held)) {}

  std::shared_ptr<Held> held_;
};

/// A store that is open for writing. Thread-safe.
class Store {
 public:
  [[nodiscard]] int fd() const { return directory_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Records of this store carry this.
  [[nodiscard]] const StoreIdentity& identity() const { return identity_; }
  [[nodiscard]] int temporary_area() const { return temporary_.get(); }
  [[nodiscard]] int pending_area() const { return pending_.get(); }
  [[nodiscard]] int vms_area() const { return vms_.get(); }

  /// Takes the lock of `name` without waiting. kBusy: another process or thread holds it. kFailed
  /// for a symbolic link: the lock of the link's name is not the snapshot's.
  [[nodiscard]] Result<NameLock> lock(const std::string& name) const;

  /// The same, but waits for the lock without a time limit.
  [[nodiscard]] Result<NameLock> wait_for_lock(const std::string& name) const;

  /// Removes the unlocked lock files of names without a snapshot, which killed processes have left.
  [[nodiscard]] Status remove_unused_locks() const;

 private:
  friend Result<Store> open_store(const std::string& path, std::vector<std::string>& notes);

  Store() = default;
  /// Null if another holds it.
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
