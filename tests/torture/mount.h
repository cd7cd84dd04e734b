// A file system (FUSE) that shows a Disk, records what programs do to it, and fails calls on
// demand.
//
// The disk stands in the directory `top` of the mount, so that its path is the same whatever state
// it is in. Names and attributes may be cached by the kernel for ever, since nobody else changes
// them, and are dropped when another disk is shown; data is never cached (direct I/O). Inode
// numbers are never given twice by one mount, and a disk keeps its own: journals that name inodes
// are as valid in every state as they would be after a reboot.
//
// What FUSE cannot see, so that it cannot be recorded: syncfs and sync_file_range, writes through a
// shared mapping (refused here), clones of storage. lamina uses the last only: it is told that this
// file system cannot, and copies.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "disk.h"
#include "history.h"

namespace lamina::torture {

/// What becomes of one call.
struct Fault {
  std::string call;        ///< "write", "fsync", "rename", … as in calls()
  std::uint64_t number{};  ///< which of them, from 1
  int error = 0;           ///< fails with this; 0: short
  /// Of a read or write that is not failed: so many bytes at most.
  std::uint64_t limit_bytes = 512;
};

class Mount {
 public:
  /// Mounts at the directory `path`. Throws std::runtime_error when that cannot be done here.
  explicit Mount(const std::string& path);
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;
  Mount(Mount&&) = delete;
  Mount& operator=(Mount&&) = delete;
  ~Mount();

  /// Answers requests from now on, in a thread of its own. Until then who uses the mount waits.
  void serve();

  // REQUIRES for all of the following: no program is at work in the mount.

  void show(const Disk& disk);
  [[nodiscard]] Disk disk() const;

  /// Begins a record with what is on the disk now.
  void start_recording();
  History stop_recording();

  /// How often each call was made since start_recording().
  [[nodiscard]] std::map<std::string, std::uint64_t> calls() const;

  void arm(const Fault& fault);
  /// True when the fault has happened.
  bool disarm();

  class Server;

 private:
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

}  // namespace lamina::torture
