#include "store/store.h"

#include <fcntl.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "store/adoption.h"
#include "store/staging.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/lock.h"

namespace lamina::store {
namespace {

/// `made` becomes true when it was not there.
Result<sys::Fd> open_area(int store, const std::string& store_path, const char* name, bool& made) {
  const std::string path = store_path + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const bool is_new, sys::make_directory(store, name, path));
  made = made || is_new;
  return sys::open_directory(store, name, path);
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

/// What is cleaned up must be ours: a link may lead anywhere.
Status refuse_linked_areas(int store, const std::string& store_path) {
  for (const std::string_view area : kAreas) {
    if (!sys::is_symbolic_link(store, std::string(area))) continue;
    return fail(ErrorKind::kFailed,
                "'{}/{}' is a symbolic link, and may not be one; put the directory itself there",
                store_path, area);
  }
  return {};
}

}  // namespace

bool is_area_name(std::string_view name) {
  return std::find(kAreas.begin(), kAreas.end(), name) != kAreas.end();
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
  LAMINA_RETURN_IF_ERROR(refuse_linked_areas(store.fd(), path));
  // The area that is made last says that the store was found fit, and the others are on the disk.
  bool made = !sys::name_exists(store.fd(), kLockArea);
  const bool is_new = made;
  LAMINA_ASSIGN_OR_RETURN(store.temporary_, open_area(store.fd(), path, kTemporaryArea, made));
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
  LAMINA_ASSIGN_OR_RETURN(store.pending_, open_area(store.fd(), path, kPendingArea, made));
  LAMINA_ASSIGN_OR_RETURN(store.vms_, open_area(store.fd(), path, kVmsArea, made));
  if (made) LAMINA_RETURN_IF_ERROR(sys::sync(store.fd(), path));
  LAMINA_ASSIGN_OR_RETURN(store.locks_, open_area(store.fd(), path, kLockArea, made));
  LAMINA_RETURN_IF_ERROR(clean_temporary_area(store, notes));
  LAMINA_RETURN_IF_ERROR(end_unfinished_adoptions(store, notes));
  return store;
}

bool Store::exists(const std::string& path) {
  return sys::name_exists(AT_FDCWD, path + "/" + kPendingArea);
}

Result<sys::Fd> Store::open_lock(const std::string& name, const std::string& path) const {
  if (sys::is_symbolic_link(fd(), name)) {
    return fail(ErrorKind::kFailed,
                "'{}/{}' is a symbolic link and cannot be written through; name the snapshot that "
                "it leads to",
                path_, name);
  }
  return sys::open_at(locks_.get(), name, O_RDWR | O_CREAT, path);
}

Result<NameLock> Store::lock(const std::string& name) const {
  const std::string path = fmt::format("{}/{}/{}", path_, kLockArea, name);
  LAMINA_ASSIGN_OR_RETURN(sys::Fd fd, open_lock(name, path));
  LAMINA_ASSIGN_OR_RETURN(const bool locked, sys::try_lock(fd.get(), path));
  if (!locked) {
    return fail(ErrorKind::kBusy,
                "snapshot '{}/{}' is being written by another process; try again when it has ended",
                path_, name);
  }
  return NameLock(std::move(fd));
}

Result<NameLock> Store::wait_for_lock(const std::string& name) const {
  const std::string path = fmt::format("{}/{}/{}", path_, kLockArea, name);
  LAMINA_ASSIGN_OR_RETURN(sys::Fd fd, open_lock(name, path));
  LAMINA_RETURN_IF_ERROR(sys::wait_for_lock(fd.get(), path));
  return NameLock(std::move(fd));
}

}  // namespace lamina::store
