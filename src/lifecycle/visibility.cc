#include "lifecycle/visibility.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/error.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/process_view.h"

namespace lamina::lifecycle {
namespace {

bool is_same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// Whether the descriptor refers to the file at the path.
bool is_at(const os::Fd& fd, const std::string& path) {
  struct stat there{};
  struct stat here{};
  return fd.valid() && ::fstat(fd.get(), &there) == 0 && ::stat(path.c_str(), &here) == 0 &&
         is_same(there, here);
}

/// True for an error of this process, which says nothing about what the other one sees.
bool is_shortage(int error_number) {
  return error_number == EMFILE || error_number == ENFILE || error_number == ENOMEM;
}

/// Mounts the socket over the empty file that was made for it.
Status mount_as_seen(pid_t pid, const std::string& source, const SharedFile& file) {
  LAMINA_ASSIGN_OR_RETURN(const os::MountTarget mount, os::MountTarget::open(pid, source));
  // Our own bind mount is not visible there, and hides the empty file.
  static_cast<void>(::umount2(file.our_path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW));
  const os::Fd target = os::open_as_seen(os::root_of(pid), file.vmm_path, os::SeenLinks::kRefused);
  // A process in the jail may have put something else there.
  if (!is_at(target, file.our_path)) {
    return fail(ErrorKind::kFailed, "process {} does not find the file '{}' at '{}'", pid,
                file.our_path, file.vmm_path);
  }
  return mount.attach(target);
}

}  // namespace

Result<bool> finds_same_file(pid_t pid, const SharedFile& file) {
  const os::Fd root = os::root_of(pid);
  if (!root.valid()) {
    if (is_shortage(errno)) return system_failure("look for", file.our_path, errno);
    return true;
  }
  const os::Fd seen = os::open_as_seen(root, file.vmm_path, os::SeenLinks::kFollowed);
  if (!seen.valid()) {
    if (is_shortage(errno)) return system_failure("look for", file.our_path, errno);
    // ENOSYS: before Linux 5.6.
    if (errno == EACCES || errno == EPERM || errno == ENOSYS) return true;
  }
  return is_at(seen, file.our_path);
}

bool is_found_by(pid_t pid, const SharedFile& file) {
  const os::Fd root = os::root_of(pid);
  return root.valid() &&
         is_at(os::open_as_seen(root, file.vmm_path, os::SeenLinks::kFollowed), file.our_path);
}

Status check_finds(pid_t pid, const SharedFile& file) {
  LAMINA_ASSIGN_OR_RETURN(const bool finds, finds_same_file(pid, file));
  if (finds) return {};
  return fail(ErrorKind::kFailed,
              "process {} would not find '{}' at '{}': it has another root directory or mount "
              "namespace than `jail` says, or something was mounted over a part of it",
              pid, file.our_path, file.vmm_path);
}

Status check_finds_store(pid_t pid, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const bool finds, finds_same_file(pid, {path, path}));
  if (finds) return {};
  return with_remedy(
      fail(ErrorKind::kFailed,
           "process {}, which answers at the API socket, does not find the store at '{}': it has "
           "another root directory or mount namespace",
           pid, path),
      "if it is in a jail, name the jail's root directory with `jail`");
}

Status make_socket_visible(pid_t pid, const std::string& source, const SharedFile& file) {
  const SharedFile wanted{source, file.vmm_path};
  LAMINA_ASSIGN_OR_RETURN(const bool found, finds_same_file(pid, wanted));
  if (found) return {};
  const Status mounted = mount_as_seen(pid, source, file);
  if (mounted) {
    LAMINA_ASSIGN_OR_RETURN(const bool finds, finds_same_file(pid, wanted));
    if (finds) return {};
  }
  return with_remedy(
      fail(ErrorKind::kFailed,
           "process {} would not find the page server's socket at '{}': its mount namespace does "
           "not see mounts that are made now{}",
           pid, file.vmm_path, mounted ? "" : ", and " + one_line(mounted.error())),
      "put the store on the jail's file system, make the jail's mount shared (mount --make-shared) "
      "before the jailer starts, or resume with `mode=file`");
}

}  // namespace lamina::lifecycle
