#include "server/state_directory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "base/contain.h"
#include "base/error.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/lock.h"
#include "sys/process.h"

namespace lamina::server {
namespace {

constexpr const char* kScanLock = ".lock";

std::vector<std::string> default_paths() {
  std::vector<std::string> paths;
  // NOLINTBEGIN(concurrency-mt-unsafe): nothing changes the environment
  if (::geteuid() == 0) paths.emplace_back("/run/lamina");
  if (const char* runtime = ::getenv("XDG_RUNTIME_DIR")) {
    paths.push_back(std::string(runtime) + "/lamina");
  }
  // NOLINTEND(concurrency-mt-unsafe)
  paths.push_back(fmt::format("/dev/shm/lamina-{}", ::geteuid()));
  return paths;
}

Result<sys::Fd> open_private(const std::string& path) {
  LAMINA_RETURN_IF_ERROR(sys::make_directory(AT_FDCWD, path, path));
  LAMINA_ASSIGN_OR_RETURN(sys::Fd fd,
                          sys::open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, path));
  struct stat status{};
  struct statfs system{};
  if (::fstat(fd.get(), &status) != 0 || ::fstatfs(fd.get(), &system) != 0) {
    return system_failure("stat", path, errno);
  }
  if (status.st_uid != ::geteuid() || (status.st_mode & 077) != 0) {
    return fail(ErrorKind::kFailed,
                "state directory '{}' belongs to user {} with mode {:o}; it must be this user's "
                "alone (mode 700)",
                path, status.st_uid, status.st_mode & 07777);
  }
  if (system.f_type != TMPFS_MAGIC) {
    return fail(ErrorKind::kFailed,
                "state directory '{}' is not on tmpfs, so events could be lost in it; name one on "
                "tmpfs with --state-dir",
                path);
  }
  return fd;
}

/// Held while a directory is made and locked, or looked for: no scan sees one between the two.
Result<sys::Fd> lock_scan(int directory, const std::string& path) {
  const std::string object = path + "/" + kScanLock;
  LAMINA_ASSIGN_OR_RETURN(sys::Fd fd, sys::open_at(directory, kScanLock, O_RDWR | O_CREAT, object));
  LAMINA_RETURN_IF_ERROR(sys::wait_for_lock(fd.get(), object));
  return fd;
}

}  // namespace

Result<StateDirectory> StateDirectory::open(const std::string& path, const std::string& store) {
  LAMINA_ASSIGN_OR_RETURN(StateDirectory shared, path.empty() ? open_default() : open_at(path));
  if (store.empty()) return shared;
  struct stat status{};
  if (::stat(store.c_str(), &status) != 0) {
    if (errno != ENOENT) return system_failure("stat", store, errno);
    return fail(ErrorKind::kNotFound, "store '{}' does not exist; make the directory first", store);
  }
  return open_at(fmt::format("{}/store-{:x}-{:x}", shared.path(), status.st_dev, status.st_ino));
}

Result<StateDirectory> StateDirectory::open_at(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(sys::Fd fd, open_private(path));
  return StateDirectory(path, std::move(fd));
}

Result<StateDirectory> StateDirectory::open_default() {
  Error last;
  for (const std::string& path : default_paths()) {
    auto opened = open_at(path);
    if (opened) return opened;
    last = opened.error();
  }
  return std::unexpected(last);
}

Result<VmDirectory> StateDirectory::claim(pid_t pid, std::uint64_t start_time) const {
  const std::string name = sys::process_name(pid, start_time);
  const std::string object = path_ + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd scan, lock_scan(fd_.get(), path_));
  LAMINA_ASSIGN_OR_RETURN(const bool made, sys::make_directory(fd_.get(), name, object));
  if (!made) {
    return fail(ErrorKind::kBusy, "process {} has connected before; it has one memory to be served",
                pid);
  }
  auto directory = contain(object, [&] { return sys::open_directory(fd_.get(), name, object); });
  if (directory) {
    const auto locked = sys::try_lock(directory->get(), object);
    if (locked && *locked) return VmDirectory(name, std::move(*directory));
    directory = fail(ErrorKind::kFailed, "'{}' cannot be locked", object);
  }
  static_cast<void>(sys::remove_directory(fd_.get(), name, object));
  return std::unexpected(directory.error());
}

bool StateDirectory::has(const std::string& process_name) const {
  return sys::name_exists(fd_.get(), process_name);
}

Result<std::vector<VmDirectory>> StateDirectory::claim_abandoned() const {
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd scan, lock_scan(fd_.get(), path_));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          sys::list_directory(fd_.get(), path_));
  std::vector<VmDirectory> found;
  for (const std::string& name : names) {
    if (!sys::parse_process_name(name)) continue;
    const std::string object = path_ + "/" + name;
    auto directory = sys::open_directory(fd_.get(), name, object);
    if (!directory && directory.error().kind == ErrorKind::kNotFound) continue;  // just ended
    if (!directory) return std::unexpected(directory.error());
    LAMINA_ASSIGN_OR_RETURN(const bool locked, sys::try_lock(directory->get(), object));
    if (locked) found.emplace_back(name, std::move(*directory));
  }
  return found;
}

void StateDirectory::remove(const VmDirectory& vm) const {
  // What is left is found by the next start, whose process is gone then.
  static_cast<void>(sys::remove_tree(fd_.get(), vm.name(), path_of(vm)));
}

}  // namespace lamina::server
