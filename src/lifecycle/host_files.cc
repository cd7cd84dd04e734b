// Cloud Hypervisor locks disks itself, but release 53 gives its locks up in a migration that is
// refused, that is after each checkpoint; and a serial console's file it simply truncates. So
// lamina asks the kernel who can write a file: a read lease is refused if anybody can.
#include "lifecycle/host_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <optional>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "os/path_walk.h"
#include "os/proc_file.h"
#include "os/process_view.h"
#include "os/read_lease.h"

namespace lamina::lifecycle {
namespace {

std::string link_target(const std::string& link) {
  std::array<char, PATH_MAX> target{};
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : std::string();
}

/// As the process would resolve it from its root.
std::string absolute_path(pid_t pid, const std::string& path) {
  if (path.starts_with('/')) return path;
  // Both links say where it is for us.
  std::string directory = link_target(fmt::format("/proc/{}/cwd", pid));
  const std::string root = link_target(fmt::format("/proc/{}/root", pid));
  if (root != "/" && (directory == root || directory.starts_with(root + "/"))) {
    directory.erase(0, root.size());
  }
  return directory + "/" + path;
}

std::unexpected<Error> refused(ErrorKind kind, const vmm::WrittenPath& path, std::string_view why) {
  auto error = fail(kind, "{} of the VM would use '{}', {}", path.device, path.path, why);
  if (path.option.empty()) return error;
  return with_remedy(std::move(error), "give this VM one of its own with `{}`", path.option);
}

Status check_socket(pid_t pid, const vmm::WrittenPath& path) {
  // The lists have names as those who listen resolve them: from another root they are other files.
  const os::Fd seen =
      os::open_as_seen(os::root_of(pid), absolute_path(pid, path.path), os::SeenLinks::kFollowed);
  struct stat status{};
  if (!seen.valid() || ::fstat(seen.get(), &status) != 0 || !S_ISSOCK(status.st_mode)) return {};
  // Sockets of files are listed in the network namespace that they were made in.
  for (const std::string& list :
       {std::string("/proc/net/unix"), fmt::format("/proc/{}/net/unix", pid)}) {
    const std::optional<std::string> sockets = os::read_proc_file(list);
    if (sockets && is_listening(*sockets, path.path)) {
      return refused(ErrorKind::kBusy, path, "where another process listens");
    }
  }
  return {};
}

}  // namespace

bool is_listening(const std::string& sockets, const std::string& path) {
  constexpr unsigned long kListens = 0x10000;  // __SO_ACCEPTCON
  constexpr int kHexadecimal = 16;
  std::istringstream lines(sockets);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string number;
    std::string users;
    std::string protocol;
    std::string flags;
    std::string type;
    std::string state;
    std::string inode;
    words >> number >> users >> protocol >> flags >> type >> state >> inode;
    std::string name;
    std::getline(words >> std::ws, name);
    if (name == path && (std::strtoul(flags.c_str(), nullptr, kHexadecimal) & kListens) != 0) {
      return true;
    }
  }
  return false;
}

Result<HostFiles> HostFiles::claim(pid_t pid, const std::string& config, const std::string& store) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<vmm::WrittenPath> paths, vmm::written_paths(config));
  LAMINA_ASSIGN_OR_RETURN(const std::string real_store, os::real_path(store));
  HostFiles files;
  files.files_.reserve(paths.size());
  for (const vmm::WrittenPath& path : paths) {
    LAMINA_RETURN_IF_ERROR(path.is_socket ? check_socket(pid, path)
                                          : files.add(pid, path, real_store));
  }
  return files;
}

Status HostFiles::add(pid_t pid, const vmm::WrittenPath& path, const std::string& store) {
  const os::Fd seen =
      os::open_as_seen(os::root_of(pid), absolute_path(pid, path.path), os::SeenLinks::kFollowed);
  struct stat status{};
  if (!seen.valid() || ::fstat(seen.get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  const std::string by_descriptor = fmt::format("/proc/self/fd/{}", seen.get());
  if (link_target(by_descriptor).starts_with(store + "/")) {
    return refused(ErrorKind::kUsage, path,
                   "which belongs to the store and must not change; copy it");
  }
  for (const File& other : files_) {
    if (other.device == status.st_dev && other.inode == status.st_ino) {
      return refused(ErrorKind::kUsage, path, fmt::format("which {} writes too", other.name));
    }
  }
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg): open(2) is what it is.
  os::LockedFd file(os::Fd(::open(by_descriptor.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)));
  if (!file.valid()) return {};
  // Held until the VM has it open, so that two resumes at a time do not both find no writer.
  const auto locked = os::try_lock(file.get(), path.path);
  if (locked && !*locked) {
    return refused(ErrorKind::kBusy, path, "which another resume gives to its VM, or is locked");
  }
  if (os::writers_of(file.get()) == os::Writers::kSome) {
    return refused(ErrorKind::kBusy, path, "which another process has open for writing");
  }
  files_.push_back({std::move(file), status.st_dev, status.st_ino, path.device});
  return {};
}

}  // namespace lamina::lifecycle
