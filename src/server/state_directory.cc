#include "server/state_directory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <string_view>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/uuid.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/process.h"

namespace lamina::server {
namespace {

/// In a store's directory it has the number of the pid namespace in which the names of the VMs'
/// directories mean something.
constexpr const char* kScanLock = ".lock";
constexpr std::uint64_t kMaxNamespaceBytes = 64;
constexpr const char* kStorePrefix = "store-";
constexpr const char* kSharedMemory = "/dev/shm";
/// So many directories of other stores are looked at by one start.
constexpr std::size_t kMostRemoved = 1024;

std::vector<std::string> default_paths() {
  std::vector<std::string> paths;
  // NOLINTBEGIN(concurrency-mt-unsafe): nothing changes the environment
  if (::geteuid() == 0) paths.emplace_back("/run/lamina");
  if (const char* runtime = ::getenv("XDG_RUNTIME_DIR")) {
    paths.push_back(std::string(runtime) + "/lamina");
  }
  // NOLINTEND(concurrency-mt-unsafe)
  return paths;
}

/// What group and others may not do with a directory. A store's directory is locked, and who can
/// open it can lock it too. One that holds directories of VMs and stores, which have mode 0700, may
/// be read.
constexpr mode_t kNothing = 077;
constexpr mode_t kNoWriting = 022;

Result<os::Fd> open_private(const std::string& path, mode_t forbidden) {
  LAMINA_RETURN_IF_ERROR(os::make_directory(AT_FDCWD, path, path));
  LAMINA_ASSIGN_OR_RETURN(os::Fd fd,
                          os::open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, path));
  struct stat status{};
  struct statfs system{};
  if (::fstat(fd.get(), &status) != 0 || ::fstatfs(fd.get(), &system) != 0) {
    return system_failure("stat", path, errno);
  }
  if (status.st_uid != ::geteuid()) {
    return with_remedy(
        fail(ErrorKind::kPermission, "state directory '{}' belongs to user {}, not to user {}",
             path, status.st_uid, ::geteuid()),
        "name another one with `state_dir`");
  }
  if ((status.st_mode & forbidden) != 0) {
    return with_remedy(
        fail(ErrorKind::kPermission, "state directory '{}' is open to other users (mode {:o})",
             path, status.st_mode & 07777),
        "run: chmod go-rwx {}", path);
  }
  if (system.f_type != TMPFS_MAGIC) {
    return with_remedy(
        fail(ErrorKind::kUnsupported,
             "state directory '{}' is not on tmpfs, so events could be lost in it", path),
        "name one on tmpfs with `state_dir`");
  }
  return fd;
}

/// Held while a directory is made and locked, or looked for: no scan sees one between the two.
Result<os::Fd> lock_scan(int directory, const std::string& path) {
  const std::string object = path + "/" + kScanLock;
  LAMINA_ASSIGN_OR_RETURN(os::Fd fd, os::open_at(directory, kScanLock, O_RDWR | O_CREAT, object));
  LAMINA_RETURN_IF_ERROR(os::wait_for_lock(fd.get(), object));
  return fd;
}

/// Whether `name` is still the directory `fd`.
bool is_named(int fd, int parent, const std::string& name) {
  const auto ours = os::facts_of(fd, name);
  const auto named = os::facts_of_name(parent, name, name);
  return ours && named && ours->same_file(*named);
}

std::string namespace_text() {
  const auto number = os::pid_namespace();
  return number ? std::to_string(*number) + "\n" : std::string();
}

std::string noted_namespace(int directory, const std::string& path) {
  const auto bytes = os::read_if_exists(directory, kScanLock, kMaxNamespaceBytes, path);
  if (!bytes || !*bytes) return {};
  return {reinterpret_cast<const char*>((*bytes)->data()), (*bytes)->size()};
}

bool is_of_this_namespace(int directory, const std::string& path) {
  const std::string text = noted_namespace(directory, path);
  return !text.empty() && text == namespace_text();
}

/// Without it, or when servers of several namespaces have been here, none but a server of the
/// store removes anything.
void note_namespace(int directory, const std::string& path) {
  const std::string before = noted_namespace(directory, path);
  std::string text = namespace_text();
  if (text.empty() || text == before) return;
  if (!before.empty()) text = "several\n";
  const auto file = os::open_at(directory, kScanLock, O_RDWR | O_CREAT | O_NOFOLLOW, path);
  if (!file || !os::truncate(file->get(), 0, path)) return;
  static_cast<void>(os::write_at(file->get(), std::as_bytes(std::span(text)), 0, path));
}

}  // namespace

Result<StateDirectory> StateDirectory::open(const std::string& path, const std::string& store) {
  LAMINA_ASSIGN_OR_RETURN(StateDirectory shared, path.empty() ? open_default() : open_at(path));
  if (store.empty()) return shared;
  struct stat status{};
  if (::stat(store.c_str(), &status) != 0) {
    return os::explain_directory_failure("store", store, system_error("stat", store, errno));
  }
  const std::string name = fmt::format("{}{:x}-{:x}", kStorePrefix, status.st_dev, status.st_ino);
  shared.remove_abandoned_stores(name);
  return shared.open_store(name);
}

Result<StateDirectory> StateDirectory::open_at(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(os::Fd fd, open_private(path, kNoWriting));
  return StateDirectory(path, std::move(fd));
}

Result<StateDirectory> StateDirectory::open_store(const std::string& name) const {
  // Another server may remove it just now, as nothing is in it.
  constexpr int kAttempts = 100;
  const std::string path = path_ + "/" + name;
  for (int i = 0; i < kAttempts; ++i) {
    LAMINA_ASSIGN_OR_RETURN(os::Fd fd, open_private(path, kNothing));
    StateDirectory opened(path, std::move(fd));
    LAMINA_RETURN_IF_ERROR(os::wait_for_shared_lock(opened.fd_.get(), path));
    if (!is_named(opened.fd_.get(), fd_.get(), name)) continue;
    note_namespace(opened.fd_.get(), path);
    return opened;
  }
  return fail(ErrorKind::kBusy, "'{}' cannot be locked: others keep removing it; try again", path);
}

void StateDirectory::remove_abandoned_stores(const std::string& kept) const {
  const auto names = os::list_directory(fd_.get(), path_);
  if (!names) return;
  std::size_t left = kMostRemoved;
  for (const std::string& name : *names) {
    if (!name.starts_with(kStorePrefix) || name == kept) continue;
    if (left-- == 0) return;
    // What fails here is tried again by the next start.
    static_cast<void>(remove_store_if_abandoned(name));
  }
}

Status StateDirectory::remove_store_if_abandoned(const std::string& name) const {
  const std::string path = path_ + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(os::Fd fd, os::open_directory(fd_.get(), name, path));
  const StateDirectory other(path, std::move(fd));
  if (!is_of_this_namespace(other.fd_.get(), path)) return {};
  // A server holds it shared for as long as it lives.
  LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(other.fd_.get(), path));
  if (!locked || !is_named(other.fd_.get(), fd_.get(), name)) return {};
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(other.fd_.get(), path));
  for (const std::string& vm : names) {
    const auto process = os::parse_process_name(vm);
    if (!process) continue;
    LAMINA_ASSIGN_OR_RETURN(const bool runs, os::is_running(process->pid, process->start_time));
    // It waits for a server, which will find it here.
    if (runs) return {};
  }
  return os::remove_tree(fd_.get(), name, path);
}

Result<StateDirectory> StateDirectory::open_default() {
  Error last;
  for (const std::string& path : default_paths()) {
    auto opened = open_at(path);
    if (opened) return opened;
    last = opened.error();
  }
  auto shared = open_in_shared_memory();
  if (!shared) return std::unexpected(with_context(last.message, shared.error()));
  return shared;
}

/// All users can write to /dev/shm, and another may have our name in it. One that we have made is
/// found again by its owner, whatever its name; so the servers after this one find this one's VMs.
Result<StateDirectory> StateDirectory::open_in_shared_memory() {
  const std::string area = kSharedMemory;
  const std::string own = fmt::format("lamina-{}", ::geteuid());
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, area, area));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(directory.get(), area));
  for (const std::string& name : names) {
    if (name != own && !name.starts_with(own + ".")) continue;
    const auto facts = os::facts_of_name(directory.get(), name, area);
    if (!facts || !facts->is_directory || facts->user != ::geteuid()) continue;
    auto opened = open_at(area + "/" + name);
    if (opened) return opened;
  }
  if (auto opened = open_at(area + "/" + own)) return opened;
  return open_at(fmt::format("{}/{}.{}", area, own, Uuid::random().to_string()));
}

Result<VmDirectory> StateDirectory::claim(pid_t pid, std::uint64_t start_time) const {
  const std::string name = os::process_name(pid, start_time);
  const std::string object = path_ + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd scan, lock_scan(fd_.get(), path_));
  LAMINA_ASSIGN_OR_RETURN(const bool made, os::make_directory(fd_.get(), name, object));
  if (!made) {
    return fail(ErrorKind::kBusy, "process {} has connected before; it has one memory to be served",
                pid);
  }
  auto directory = contain(object, [&] { return os::open_directory(fd_.get(), name, object); });
  if (directory) {
    const auto locked = os::try_lock(directory->get(), object);
    if (locked && *locked) return VmDirectory(name, std::move(*directory));
    directory = fail(ErrorKind::kFailed, "'{}' cannot be locked", object);
  }
  static_cast<void>(os::remove_directory(fd_.get(), name, object));
  return std::unexpected(directory.error());
}

bool StateDirectory::has(const std::string& process_name) const {
  return os::name_exists(fd_.get(), process_name);
}

Result<std::vector<VmDirectory>> StateDirectory::claim_abandoned() const {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd scan, lock_scan(fd_.get(), path_));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(fd_.get(), path_));
  std::vector<VmDirectory> found;
  for (const std::string& name : names) {
    if (!os::parse_process_name(name)) continue;
    const std::string object = path_ + "/" + name;
    auto directory = os::open_directory(fd_.get(), name, object);
    if (!directory && directory.error().kind == ErrorKind::kNotFound) continue;  // just ended
    if (!directory) return std::unexpected(directory.error());
    LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(directory->get(), object));
    if (locked) found.emplace_back(name, std::move(*directory));
  }
  return found;
}

void StateDirectory::remove(const VmDirectory& vm) const {
  // What is left is found by the next start, whose process is gone then.
  static_cast<void>(os::remove_tree(fd_.get(), vm.name(), path_of(vm)));
}

}  // namespace lamina::server
