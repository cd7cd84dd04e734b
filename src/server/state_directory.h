// The directory with the states of the VMs on record: on tmpfs, with a directory <pid>-<start time>
// for each VM, which contains its file `state` (pager/vm_state.h).
//
// A VM's directory is made when its process connects, before anything is read from the connection.
// It is locked by the processes that serve the VM, so an unlocked directory shows a VM without a
// server: a starting server takes it over or kills it. If the directory has no `state`, the
// handshake was not finished. Then no server can fill the VM's memory, and it is killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "pager/vm_state.h"

namespace lamina::server {

/// One VM's directory, locked. The directory outlives this object, until remove() is called.
class VmDirectory {
 public:
  VmDirectory(std::string name, os::Fd fd) : name_(std::move(name)), fd_(std::move(fd)) {}

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  std::string name_;
  os::Fd fd_;
};

class StateDirectory {
 public:
  /// Opens `path`, which is created (mode 0700) if it is missing. An empty path means the first of
  /// /run/lamina (root), $XDG_RUNTIME_DIR/lamina, /dev/shm/lamina-UID that can be used. If another
  /// user has the last of these names, /dev/shm/lamina-UID.<random> is used, which later starts
  /// find again. The VMs of a `store` (empty: none) are in a separate directory in it, so that no
  /// other server takes them over. Directories of other stores that have neither a server nor a
  /// running VM are removed. kPermission if the directory belongs to another user, or others may
  /// write to it; kUnsupported if it is not on tmpfs (other file systems write-protect pages for
  /// writeback, and an event is lost if its copy to the page faults).
  static Result<StateDirectory> open(const std::string& path, const std::string& store);

  /// A directory that is open already; its current name and mode do not matter.
  StateDirectory(std::string path, os::Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Makes and locks the directory of a process. kBusy if it exists: the process has connected
  /// before.
  [[nodiscard]] Result<VmDirectory> claim(pid_t pid, std::uint64_t start_time) const;

  /// Whether a process has a directory, locked or not.
  [[nodiscard]] bool has(const std::string& process_name) const;

  /// Locks and returns the directories that no living process has locked.
  [[nodiscard]] Result<std::vector<VmDirectory>> claim_abandoned() const;

  /// Removes a VM's directory.
  void remove(const VmDirectory& vm) const;

  [[nodiscard]] std::string path_of(const VmDirectory& vm) const { return path_ + "/" + vm.name(); }

 private:
  static Result<StateDirectory> open_at(const std::string& path);
  static Result<StateDirectory> open_default();
  static Result<StateDirectory> open_in_shared_memory();

  /// The directory of a store. The processes that use it hold a shared lock, so that no other
  /// process removes it.
  [[nodiscard]] Result<StateDirectory> open_store(const std::string& name) const;
  void remove_abandoned_stores(const std::string& kept) const;
  [[nodiscard]] Status remove_store_if_abandoned(const std::string& name) const;

  std::string path_;
  os::Fd fd_;
};

inline constexpr const char* kStateName = "state";

}  // namespace lamina::server
