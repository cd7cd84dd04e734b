#include "vmm/visibility.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <thread>

#include "base/error.h"
#include "sys/fd.h"
#include "sys/file.h"

namespace lamina::vmm {
namespace {

/// The root directory of a process; not valid when it may not be looked at, or has ended.
sys::Fd root_of(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/root", pid);
  return sys::Fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/// Opens a path as a process with this root sees it, as a place only (O_PATH): links lead where
/// they lead it, none leads out of its root. errno tells why it is not valid.
sys::Fd open_as_seen(const sys::Fd& root, const std::string& path, std::uint64_t resolve) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve;
  return sys::Fd(
      static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof(how))));
}

bool is_same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// Whether the descriptor is of the file that we find at the path.
bool is_at(const sys::Fd& fd, const std::string& path) {
  struct stat there{};
  struct stat here{};
  return fd.valid() && ::fstat(fd.get(), &there) == 0 && ::stat(path.c_str(), &here) == 0 &&
         is_same(there, here);
}

/// Mounts `tree`, which is attached nowhere, on `target`, a file in the mount namespace. In a
/// thread of its own, because that leaves ours for good.
Status mount_in_namespace(const sys::Fd& mount_namespace, const sys::Fd& tree,
                          const sys::Fd& target) {
  int error_number = 0;
  std::jthread([&] {
    const bool done = ::unshare(CLONE_FS) == 0 &&
                      ::setns(mount_namespace.get(), CLONE_NEWNS) == 0 &&
                      ::syscall(SYS_move_mount, tree.get(), "", target.get(), "",
                                MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
    if (!done) error_number = errno;
  }).join();
  if (error_number == 0) return {};
  return system_failure("mount", "in the mount namespace of the VM's process", error_number);
}

/// Mounts the socket over the empty file that was made for it.
Status mount_as_seen(pid_t pid, const std::string& source, const SharedFile& file) {
  const std::string namespace_path = fmt::format("/proc/{}/ns/mnt", pid);
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd mount_namespace,
                          sys::open_at(AT_FDCWD, namespace_path, O_RDONLY, namespace_path));
  const sys::Fd tree(static_cast<int>(
      ::syscall(SYS_open_tree, AT_FDCWD, source.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
  if (!tree.valid()) return system_failure("open_tree", source, errno);
  // Our own bind mount is of no use, and hides the empty file.
  static_cast<void>(::umount2(file.our_path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW));
  const sys::Fd target = open_as_seen(root_of(pid), file.vmm_path, RESOLVE_NO_SYMLINKS);
  // Whoever runs in the jail may have put something else there.
  if (!is_at(target, file.our_path)) {
    return fail(ErrorKind::kFailed, "process {} does not find the file '{}' at '{}'", pid,
                file.our_path, file.vmm_path);
  }
  return mount_in_namespace(mount_namespace, tree, target);
}

}  // namespace

bool finds_same_file(pid_t pid, const SharedFile& file) {
  const sys::Fd root = root_of(pid);
  if (!root.valid()) return true;
  const sys::Fd seen = open_as_seen(root, file.vmm_path, 0);
  // ENOSYS: before Linux 5.6.
  if (!seen.valid() && (errno == EACCES || errno == EPERM || errno == ENOSYS)) return true;
  return is_at(seen, file.our_path);
}

Status check_finds(pid_t pid, const SharedFile& file) {
  if (finds_same_file(pid, file)) return {};
  return fail(ErrorKind::kFailed,
              "process {} would not find '{}' at '{}': it has another root directory or mount "
              "namespace than was said with --jail, or something was mounted over a part of it",
              pid, file.our_path, file.vmm_path);
}

Status check_finds_store(pid_t pid, const std::string& path) {
  if (finds_same_file(pid, {path, path})) return {};
  return fail(ErrorKind::kFailed,
              "process {}, which answers at the API socket, does not find the store at '{}': it "
              "has another root directory or mount namespace; if it is in a jail, give its root "
              "directory with --jail",
              pid, path);
}

Status make_socket_seen(pid_t pid, const std::string& source, const SharedFile& file) {
  const SharedFile wanted{source, file.vmm_path};
  if (finds_same_file(pid, wanted)) return {};
  const Status mounted = mount_as_seen(pid, source, file);
  if (mounted && finds_same_file(pid, wanted)) return {};
  return fail(
      ErrorKind::kFailed,
      "process {} would not find the page server's socket at '{}': its mount namespace does not "
      "see mounts that are made now{}; put the store on the jail's file system, make the jail's "
      "mount shared (mount --make-shared) before the jailer starts, or resume with --mode file",
      pid, file.vmm_path, mounted ? "" : ", and " + mounted.error().message);
}

}  // namespace lamina::vmm
