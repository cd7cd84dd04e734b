#include "os/process_view.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "base/error.h"
#include "os/blocked_signals.h"
#include "os/file.h"

namespace lamina::os {

Fd root_of(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/root", pid);
  return Fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

Fd open_as_seen(const Fd& root, const std::string& path, SeenLinks links) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS |
                (links == SeenLinks::kRefused ? RESOLVE_NO_SYMLINKS : 0);
  return Fd(static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof(how))));
}

Result<MountTarget> MountTarget::open(pid_t pid, const std::string& source) {
  const std::string namespace_path = fmt::format("/proc/{}/ns/mnt", pid);
  LAMINA_ASSIGN_OR_RETURN(Fd mount_namespace,
                          open_at(AT_FDCWD, namespace_path, O_RDONLY, namespace_path));
  Fd tree(static_cast<int>(
      ::syscall(SYS_open_tree, AT_FDCWD, source.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
  if (!tree.valid()) return system_failure("open_tree", source, errno);
  return MountTarget(std::move(mount_namespace), std::move(tree));
}

Status MountTarget::attach(const Fd& target) const {
  int error_number = 0;
  const BlockedSignals inherited(BlockedSignals::Which::kSent);
  std::jthread([&] {
    const bool done = ::unshare(CLONE_FS) == 0 &&
                      ::setns(mount_namespace_.get(), CLONE_NEWNS) == 0 &&
                      ::syscall(SYS_move_mount, tree_.get(), "", target.get(), "",
                                MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
    if (!done) error_number = errno;
  }).join();
  if (error_number == 0) return {};
  return system_failure("mount", "in the mount namespace of the VM's process", error_number);
}

}  // namespace lamina::os
