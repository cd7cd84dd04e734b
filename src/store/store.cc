#include "store/store.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/contain.h"
#include "base/error.h"
#include "store/adoption.h"
#include "store/staging.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/lock.h"
#include "sys/owner.h"

namespace lamina::store {
namespace {

/// `made` becomes true when it was not there.
Result<sys::Fd> open_area_noting(int store, const std::string& store_path, const char* name,
                                 bool& made) {
  const std::string path = store_path + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const bool is_new, sys::make_directory(store, name, path));
  made = made || is_new;
  LAMINA_ASSIGN_OR_RETURN(sys::Fd area, sys::open_directory(store, name, path));
  LAMINA_RETURN_IF_ERROR(sys::check_owner(area.get(), path));
  return area;
}

/// Tries out on two fresh directories whether they can be exchanged: publishing a snapshot in the
/// place of another is nothing else.
Status try_exchange(const Store& store) {
  LAMINA_ASSIGN_OR_RETURN(const Staging staging,
                          Staging::create(store, Area::kTemporary, Uuid::random()));
  for (const char* name : {"a", "b"}) {
    LAMINA_RETURN_IF_ERROR(sys::make_directory(staging.fd(), name, staging.file_path(name)));
  }
  return sys::rename_exchange(staging.fd(), "a", staging.fd(), "b", staging.path());
}

constexpr std::array<std::string_view, 6> kAreas = {kTemporaryArea, kPendingArea, kVmsArea,
                                                    kMapsArea,      kCountsArea,  kLockArea};

/// What is written to and cleaned up must be ours: a link may lead anywhere, and what belongs to
/// another user may be exchanged by that user.
Status check_areas(int store, const std::string& store_path) {
  for (const std::string_view name : kAreas) {
    const std::string area(name);
    const std::string path = store_path + "/" + area;
    if (sys::is_symbolic_link(store, area)) {
      return fail(ErrorKind::kFailed,
                  "'{}' is a symbolic link, and may not be one; put the directory itself there",
                  path);
    }
    if (!sys::name_exists(store, area)) continue;
    LAMINA_ASSIGN_OR_RETURN(const sys::Fd opened, sys::open_directory(store, area, path));
    LAMINA_RETURN_IF_ERROR(sys::check_owner(opened.get(), path));
  }
  return {};
}

}  // namespace

bool is_area_name(std::string_view name) {
  return std::find(kAreas.begin(), kAreas.end(), name) != kAreas.end();
}

Result<sys::Fd> open_in_store(const std::string& path) {
  // One of a store's own directories: from it on everything is lamina's.
  for (std::size_t end = path.size(); end > 0;) {
    const std::size_t slash = path.rfind('/', end - 1);
    const std::size_t start = slash == std::string::npos ? 0 : slash + 1;
    if (start < end && is_area_name(std::string_view(path).substr(start, end - start))) {
      const std::string store = start == 0 ? "." : path.substr(0, start);
      LAMINA_ASSIGN_OR_RETURN(const sys::Fd directory, sys::open_directory(AT_FDCWD, store, store));
      return sys::open_directory(directory.get(), path.substr(start), path);
    }
    end = slash == std::string::npos ? 0 : slash;
  }
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  std::string name = trimmed.substr(trimmed.rfind('/') + 1);
  if (name.empty() || name == "." || name == "..") {
    return sys::open_directory(AT_FDCWD, path, path);
  }
  const std::string store = sys::parent_of(trimmed);
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd directory, sys::open_directory(AT_FDCWD, store, store));
  if (const auto target = sys::target_of_link(directory.get(), name)) {
    if (!sys::name_exists(AT_FDCWD, path + "/.")) return system_failure("open", path, ENOENT);
    if (target->find('/') != std::string::npos || *target == "..") {
      return fail(ErrorKind::kFailed,
                  "'{}' is a symbolic link that leads out of its directory, and is not followed; "
                  "name the snapshot that it leads to",
                  path);
    }
    name = *target;
  }
  return sys::open_directory(directory.get(), name, path);
}

Result<sys::Fd> make_vms_area(const std::string& store) {
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd directory, sys::open_directory(AT_FDCWD, store, store));
  LAMINA_RETURN_IF_ERROR(sys::check_store_owner(directory.get(), store));
  bool made = false;
  return open_area_noting(directory.get(), store, kVmsArea, made);
}

Status refuse_area(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const std::string real, sys::real_path(path));
  for (std::size_t start = 1; start < real.size();) {
    const std::size_t end = std::min(real.find('/', start), real.size());
    const std::string above = real.substr(0, start);
    // Somebody's own directory may have such a name; below a store it is the store's.
    if (is_area_name(std::string_view(real).substr(start, end - start)) && Store::exists(above)) {
      return fail(ErrorKind::kUsage,
                  "'{}' is inside store '{}', in what lamina keeps there for itself; name a "
                  "snapshot of the store",
                  path, above.substr(0, std::max<std::size_t>(start - 1, 1)));
    }
    start = end + 1;
  }
  return {};
}

Result<Store> Store::open(const std::string& path, std::vector<std::string>& notes) {
  Store store;
  store.path_ = path;
  auto directory = sys::open_directory(AT_FDCWD, path, path);
  if (!directory) {
    if (directory.error().kind != ErrorKind::kNotFound) return std::unexpected(directory.error());
    return fail(ErrorKind::kNotFound, "store '{}' does not exist; make the directory first", path);
  }
  store.directory_ = std::move(*directory);
  LAMINA_ASSIGN_OR_RETURN(store.identity_, identity_of(store.fd(), path));
  LAMINA_RETURN_IF_ERROR(refuse_area(path));
  LAMINA_RETURN_IF_ERROR(sys::check_store_owner(store.fd(), path));
  LAMINA_RETURN_IF_ERROR(check_areas(store.fd(), path));
  // The area that is made last says that the store was found fit, and the others are on the disk.
  bool made = !sys::name_exists(store.fd(), kLockArea);
  const bool is_new = made;
  LAMINA_ASSIGN_OR_RETURN(store.temporary_,
                          open_area_noting(store.fd(), path, kTemporaryArea, made));
  if (is_new) {
    const Status tried = try_exchange(store);
    if (!tried) {
      // Not empty: another process uses it.
      static_cast<void>(sys::remove_directory(store.fd(), kTemporaryArea, path));
      return std::unexpected(with_context(
          fmt::format("'{}' cannot be a store: directories cannot be exchanged in it", path),
          tried.error()));
    }
  }
  LAMINA_ASSIGN_OR_RETURN(store.pending_, open_area_noting(store.fd(), path, kPendingArea, made));
  LAMINA_ASSIGN_OR_RETURN(store.vms_, open_area_noting(store.fd(), path, kVmsArea, made));
  if (made) LAMINA_RETURN_IF_ERROR(sys::sync(store.fd(), path));
  LAMINA_ASSIGN_OR_RETURN(store.locks_, open_area_noting(store.fd(), path, kLockArea, made));
  LAMINA_RETURN_IF_ERROR(clean_temporary_area(store, notes));
  LAMINA_RETURN_IF_ERROR(end_unfinished_adoptions(store, notes));
  return store;
}

bool Store::exists(const std::string& path) {
  return sys::name_exists(AT_FDCWD, path + "/" + kPendingArea);
}

// A lock file is removed by its holder alone, and whoever has waited for it finds out that the name
// is not its file's any more: so no two processes hold the lock of one name by two files.
struct NameLock::Held {
  std::string name;
  sys::Fd file;
  sys::Fd locks;
  sys::Fd store;

  Held() = default;
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  Held(Held&&) = delete;
  Held& operator=(Held&&) = delete;
  ~Held() {
    // lamina's own locks, which begin with a dot, are few and of no snapshot.
    if (name.empty() || name.starts_with('.')) return;
    static_cast<void>(contain("unlock", [&]() -> Status {
      const auto snapshot = sys::facts_of_name(store.get(), name, name);
      if (snapshot || snapshot.error().kind != ErrorKind::kNotFound) return {};
      return sys::remove_file(locks.get(), name, name);
    }));
  }
};

Result<std::shared_ptr<NameLock::Held>> Store::take_lock(const std::string& name, bool wait) const {
  const std::string path = fmt::format("{}/{}/{}", path_, kLockArea, name);
  if (sys::is_symbolic_link(fd(), name)) {
    return fail(ErrorKind::kFailed,
                "'{}/{}' is a symbolic link and cannot be written through; name the snapshot that "
                "it leads to",
                path_, name);
  }
  while (true) {
    LAMINA_ASSIGN_OR_RETURN(sys::OpenedFile file,
                            sys::open_regular(locks_.get(), name, O_RDWR | O_CREAT, path));
    if (wait) {
      LAMINA_RETURN_IF_ERROR(sys::wait_for_lock(file.fd.get(), path));
    } else {
      LAMINA_ASSIGN_OR_RETURN(const bool locked, sys::try_lock(file.fd.get(), path));
      if (!locked) return nullptr;
    }
    const auto named = sys::facts_of_name(locks_.get(), name, path);
    if (!named && named.error().kind != ErrorKind::kNotFound) {
      return std::unexpected(named.error());
    }
    if (!named || !named->same_file(file.facts)) continue;  // its last holder has removed it
    auto held = std::make_shared<NameLock::Held>();
    LAMINA_ASSIGN_OR_RETURN(held->locks, sys::duplicate(locks_.get(), path));
    LAMINA_ASSIGN_OR_RETURN(held->store, sys::duplicate(fd(), path_));
    held->file = std::move(file.fd);
    held->name = name;
    return held;
  }
}

Result<NameLock> Store::lock(const std::string& name) const {
  LAMINA_ASSIGN_OR_RETURN(std::shared_ptr<NameLock::Held> held, take_lock(name, false));
  if (held) return NameLock(std::move(held));
  return fail(ErrorKind::kBusy,
              "snapshot '{}/{}' is being written by another process; try again when it has ended",
              path_, name);
}

Result<NameLock> Store::wait_for_lock(const std::string& name) const {
  LAMINA_ASSIGN_OR_RETURN(std::shared_ptr<NameLock::Held> held, take_lock(name, true));
  return NameLock(std::move(held));
}

Status Store::remove_unused_locks() const {
  LAMINA_ASSIGN_OR_RETURN(
      const std::vector<std::string> names,
      sys::list_directory(locks_.get(), fmt::format("{}/{}", path_, kLockArea)));
  for (const std::string& name : names) {
    if (name.starts_with('.') || sys::name_exists(fd(), name)) continue;
    // Going out of scope removes it. What is not a lock file is left alone.
    static_cast<void>(take_lock(name, false));
  }
  return {};
}

}  // namespace lamina::store
