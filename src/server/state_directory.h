// Where the states of the VMs that are being served stand: a directory on tmpfs, and in it one
// directory per VM, <pid>-<start time>, with a file `state`.
//
// A VM's directory is made when its process connects, before anything is read from it, and is
// locked for as long as any process that serves it lives. So a start that finds one unlocked knows
// a VM that has no server: it takes it over, or kills it. Without a `state` the handshake was not
// finished, and its peer is killed: it waits for pages that no server can give it.
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

/// One VM's directory, locked. It stays when this goes, until remove() is called.
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
  /// Opens `path` and makes it (mode 0700) when it is missing; an empty path stands for the first
  /// of /run/lamina (root), $XDG_RUNTIME_DIR/lamina, /dev/shm/lamina-UID that can be had; where
  /// another user has the last of these names, for /dev/shm/lamina-UID.<random>, which later
  /// starts find again. The VMs of a `store` (empty: none) stand in a directory of their own in it:
  /// no other server is to take them over, for the store's own would not see that it has gone.
  /// Those of other stores that have neither a server nor a VM that runs are removed. kFailed when
  /// it is another user's, open to others, or not on tmpfs (pages of other file systems can be
  /// taken away for writing back, and an event whose copy then faults is lost).
  static Result<StateDirectory> open(const std::string& path, const std::string& store);

  /// One that is open already, whatever has become of its name and mode.
  StateDirectory(std::string path, os::Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Makes and locks the directory of a process. kBusy when it has one: it has connected before.
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

  /// The directory of a store, held shared by the processes that have it open, so that none removes
  /// it.
  [[nodiscard]] Result<StateDirectory> open_store(const std::string& name) const;
  void remove_abandoned_stores(const std::string& kept) const;
  [[nodiscard]] Status remove_store_if_abandoned(const std::string& name) const;

  std::string path_;
  os::Fd fd_;
};

inline constexpr const char* kStateName = "state";

}  // namespace lamina::server
