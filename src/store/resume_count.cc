#include "store/resume_count.h"
#include "store/areas.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/owner.h"

namespace lamina::store {
namespace {

std::string area_path(const Store& store) {
  return fmt::format("{}/{}", store.path(), kCountsArea);
}

/// The file's name has the store's identity, so that a copy of the store counts anew.
std::string file_name(const StoreIdentity& store, const Uuid& pause_id) {
  return pause_id.to_string() + "@" + stable_name(store);
}

constexpr std::chrono::milliseconds kLongestWait{2000};

Status append_byte(int fd, const std::string& path) {
  constexpr char kByte = 0;
  while (true) {
    const ssize_t written = ::write(fd, &kByte, 1);
    if (written == 1) return {};
    if (written < 0 && errno == EINTR) continue;
    return system_failure("write", path, written < 0 ? errno : EIO);
  }
}

}  // namespace

Result<std::uint64_t> count_resume(const Store& store, const Uuid& pause_id) {
  const std::string name = file_name(store.identity(), pause_id);
  const std::string path = area_path(store) + "/" + name;
  LAMINA_RETURN_IF_ERROR(os::make_directory(store.fd(), kCountsArea, area_path(store)));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area,
                          os::open_directory(store.fd(), kCountsArea, area_path(store)));
  LAMINA_RETURN_IF_ERROR(os::check_owner(area.get(), area_path(store)));
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(area.get(), name, O_WRONLY | O_APPEND | O_CREAT, path));
  const os::LockedFd locked(os::Fd(::fcntl(file.fd.get(), F_DUPFD_CLOEXEC, 0)));
  if (!locked.valid()) return system_failure("dup", path, errno);
  // Held for these two calls only.
  LAMINA_RETURN_IF_ERROR(os::wait_for_lock(locked.get(), path, kLongestWait));
  LAMINA_RETURN_IF_ERROR(append_byte(file.fd.get(), path));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts counted, os::facts_of(file.fd.get(), path));
  return counted.size_bytes;
}

namespace {

/// The facts of the file of counts; absent: it was never resumed.
std::optional<os::FileFacts> count_facts(int store, const StoreIdentity& identity,
                                         const Uuid& pause_id) {
  const std::string name = file_name(identity, pause_id);
  const auto area = os::open_directory(store, kCountsArea, kCountsArea);
  if (!area) return std::nullopt;
  const auto facts = os::facts_of_name(area->get(), name, fmt::format("{}/{}", kCountsArea, name));
  if (!facts || !facts->is_regular) return std::nullopt;
  return *facts;
}

}  // namespace

std::uint64_t resume_count(int store, const StoreIdentity& identity, const Uuid& pause_id) {
  const auto facts = count_facts(store, identity, pause_id);
  return facts ? facts->size_bytes : 0;
}

std::int64_t last_resume_ns(int store, const StoreIdentity& identity, const Uuid& pause_id) {
  const auto facts = count_facts(store, identity, pause_id);
  return facts ? facts->modified_ns : 0;
}

Result<std::vector<std::string>> list_counts(const Store& store) {
  const auto area = os::open_directory(store.fd(), kCountsArea, area_path(store));
  if (area) return os::list_directory(area->get(), area_path(store));
  if (area.error().kind == ErrorKind::kNotFound) return std::vector<std::string>();
  return std::unexpected(area.error());
}

std::vector<std::string> counts_except(const std::vector<std::string>& names,
                                       const std::set<Uuid>& kept) {
  std::vector<std::string> others;
  for (const std::string& name : names) {
    const auto pause_id = Uuid::parse(name.substr(0, name.find('@')));
    if (pause_id && !kept.contains(*pause_id)) others.push_back(name);
  }
  return others;
}

Status remove_counts(const Store& store, const std::vector<std::string>& names) {
  if (names.empty()) return {};
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area,
                          os::open_directory(store.fd(), kCountsArea, area_path(store)));
  for (const std::string& name : names) {
    LAMINA_RETURN_IF_ERROR(os::remove_file(area.get(), name, area_path(store) + "/" + name));
  }
  return {};
}

}  // namespace lamina::store
