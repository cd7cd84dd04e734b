// The files of the host that a resumed Cloud Hypervisor VM will write: no two VMs may write one.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/lock.h"
#include "vmm/cloud_hypervisor/host_paths.h"

namespace lamina::lifecycle {

/// Disks, consoles and sockets of one VM, from before its load until it has them open. Another
/// resume that would give one of these files to its VM fails meanwhile.
class HostFiles {
 public:
  /// Checks the paths of the Config message that process `pid` will get. kBusy, naming device and
  /// path, if another process has a file open for writing, or listens at a socket; kUsage if a file
  /// belongs to the store at `store`, or to two devices. What cannot be told (block devices, files
  /// of another user, file systems without leases) passes.
  static Result<HostFiles> claim(pid_t pid, const std::string& config, const std::string& store);

 private:
  struct File {
    os::LockedFd fd;
    dev_t device = 0;
    ino_t inode = 0;
    std::string name;
  };

  Status add(pid_t pid, const vmm::WrittenPath& path, const std::string& store);

  std::vector<File> files_;
};

/// Whether `path` is that of a listening socket, in the text of /proc/net/unix. Pure.
bool is_listening(const std::string& sockets, const std::string& path);

}  // namespace lamina::lifecycle
