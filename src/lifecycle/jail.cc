#include "lifecycle/jail.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/escape.h"
#include "base/utf8.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/path_walk.h"
#include "os/range_copy.h"
#include "store/jail_directory.h"

namespace lamina::lifecycle {
namespace {

/// Follows no links: processes in the jail may have put one anywhere below its root.
Result<os::Fd> open_without_links(const std::string& directory) {
  return os::open_at(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, directory);
}

}  // namespace

Result<Jail> Jail::open(const std::string& root) {
  if (root.empty()) return Jail("");
  LAMINA_ASSIGN_OR_RETURN(std::string absolute, os::real_path(root));
  if (!is_utf8(absolute)) {
    return fail(ErrorKind::kUsage, "the path '{}' is not UTF-8; give a name that is",
                escaped_line(absolute));
  }
  LAMINA_RETURN_IF_ERROR(os::open_directory(AT_FDCWD, absolute, root));
  return Jail(std::move(absolute));
}

std::string Jail::inside(const std::string& path) const {
  if (root_.empty() || root_ == "/") return path;
  return path.starts_with(root_ + "/") ? path.substr(root_.size()) : path;
}

std::string Jail::directory_of(const Uuid& id) const {
  return (root_ == "/" ? "" : root_) + "/" + store::jail_directory_name(id);
}

Result<store::JailDirectory> Jail::make_directory(const Uuid& id, const Owner& owner) const {
  const std::string name = store::jail_directory_name(id);
  const std::string path = directory_of(id);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd root, os::open_directory(AT_FDCWD, root_, root_));
  if (::mkdirat(root.get(), name.c_str(), 0700) != 0) return system_failure("mkdir", path, errno);
  store::JailDirectory directory{path, 0};
  const Status given = [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(
        const os::Fd made,
        os::open_at(root.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, path));
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(made.get(), path));
    directory.inode = facts.inode;
    LAMINA_RETURN_IF_ERROR(os::set_mode(made.get(), S_IRWXU, path));
    if (::fchown(made.get(), owner.uid, owner.gid) != 0) {
      return system_failure("chown", path, errno);
    }
    return os::sync(root.get(), root_);
  }();
  if (given) return directory;
  static_cast<void>(os::remove_directory(root.get(), name, path));
  return std::unexpected(given.error());
}

Status Jail::check_process(pid_t pid) const {
  if (root_.empty()) return {};
  const std::string path = fmt::format("/proc/{}/root", pid);
  struct stat inside{};
  struct stat outside{};
  // Looking needs privileges. Without them this process cannot act on another user's VM either.
  if (::stat(path.c_str(), &inside) != 0 || ::stat(root_.c_str(), &outside) != 0) return {};
  if (inside.st_dev == outside.st_dev && inside.st_ino == outside.st_ino) return {};
  return fail(
      ErrorKind::kFailed,
      "process {} answers at the API socket, but its root is not '{}'; is the socket a link "
      "to another VM's?",
      pid, root_);
}

Status Jail::provide_copy(const std::string& source, const std::string& directory,
                          const std::string& name, const Owner& owner) {
  const std::string path = directory + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile from,
                          os::open_regular(AT_FDCWD, source, O_RDONLY, source));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to_directory, open_without_links(directory));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to,
                          os::copy_to_new_file(from.fd.get(), from.facts.size_bytes, source,
                                               to_directory.get(), name, path));
  if (::fchown(to.get(), owner.uid, owner.gid) != 0) return system_failure("chown", path, errno);
  return {};
}

Status Jail::provide_link(const std::string& source, const std::string& directory,
                          const std::string& name, const Owner& owner) {
  constexpr std::uint32_t kReadable = 0444;
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile from,
                          os::open_regular(AT_FDCWD, source, O_RDONLY, source));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to, open_without_links(directory));
  LAMINA_ASSIGN_OR_RETURN(const bool linked, os::link_descriptor(from.fd.get(), to.get(), name,
                                                                 directory + "/" + name));
  if (linked) return os::set_mode(from.fd.get(), kReadable, source);
  return provide_copy(source, directory, name, owner);
}

Status Jail::provide_socket(const std::string& source, const std::string& directory,
                            const std::string& name) {
  const std::string path = directory + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to, open_without_links(directory));
  if (::linkat(AT_FDCWD, source.c_str(), to.get(), name.c_str(), 0) == 0) return {};
  const int link_error = errno;
  if (link_error != EXDEV && link_error != EPERM && link_error != EMLINK) {
    return system_failure("link", path, link_error);
  }
  // By descriptor: the owner of the directory may replace the file by a link.
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                          os::open_at(to.get(), name, O_RDWR | O_CREAT | O_EXCL, path));
  const std::string by_descriptor = fmt::format("/proc/self/fd/{}", file.get());
  if (::mount(source.c_str(), by_descriptor.c_str(), nullptr, MS_BIND, nullptr) == 0) return {};
  return fail(ErrorKind::kFailed,
              "the page server's socket '{}' can be given no name in '{}': a link does not reach "
              "there, and for a bind mount: {}; put the store on the jail's file system, or resume "
              "by file",
              source, directory, system_error("mount", path, errno).message);
}

Status Jail::remove_directory(const store::JailDirectory& directory) {
  if (directory.path.empty()) return {};
  const auto opened = store::open_jail_directory(directory);
  if (!opened) {
    if (opened.error().kind == ErrorKind::kNotFound) return {};
    return std::unexpected(opened.error());
  }
  const int fd = opened->directory.get();
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(fd, directory.path));
  for (const std::string& name : names) {
    const std::string by_descriptor = fmt::format("/proc/self/fd/{}/{}", fd, name);
    // EINVAL: nothing is mounted there.
    static_cast<void>(::umount2(by_descriptor.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW));
  }
  return remove_jail_directory(directory);
}

}  // namespace lamina::lifecycle
