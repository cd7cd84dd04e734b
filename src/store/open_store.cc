#include "store/open_store.h"

#include <fcntl.h>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/owner.h"
#include "store/adoption.h"
#include "store/areas.h"
#include "store/staging.h"

namespace lamina::store {
namespace {

/// Tries out on two fresh directories whether they can be exchanged: publishing a snapshot in the
/// place of another is nothing else.
Status try_exchange(const Store& store) {
  LAMINA_ASSIGN_OR_RETURN(const Staging staging,
                          Staging::create(store, Area::kTemporary, Uuid::random()));
  for (const char* name : {"a", "b"}) {
    LAMINA_RETURN_IF_ERROR(os::make_directory(staging.fd(), name, staging.file_path(name)));
  }
  return os::rename_exchange(staging.fd(), "a", staging.fd(), "b", staging.path());
}

/// What processes that were killed have left.
Status clean_up(const Store& store, std::vector<std::string>& notes) {
  LAMINA_RETURN_IF_ERROR(clean_temporary_area(store, notes));
  return end_unfinished_adoptions(store, notes);
}

}  // namespace

Result<Store> open_store(const std::string& path, std::vector<std::string>& notes) {
  Store store;
  store.path_ = path;
  auto directory = os::open_directory(AT_FDCWD, path, path);
  if (!directory) {
    if (directory.error().kind != ErrorKind::kNotFound) return std::unexpected(directory.error());
    return fail(ErrorKind::kNotFound, "store '{}' does not exist; make the directory first", path);
  }
  store.directory_ = std::move(*directory);
  LAMINA_ASSIGN_OR_RETURN(store.identity_, identity_of(store.fd(), path));
  LAMINA_RETURN_IF_ERROR(refuse_area(path));
  LAMINA_RETURN_IF_ERROR(os::check_store_owner(store.fd(), path));
  LAMINA_RETURN_IF_ERROR(check_areas(store.fd(), path));
  // The area that is made last says that the store was found fit, and the others are on the disk.
  bool made = !os::name_exists(store.fd(), kLockArea);
  const bool is_new = made;
  LAMINA_ASSIGN_OR_RETURN(store.temporary_, make_area(store.fd(), path, kTemporaryArea, made));
  if (is_new) {
    const Status tried = try_exchange(store);
    if (!tried) {
      // Not empty: another process uses it.
      static_cast<void>(os::remove_directory(store.fd(), kTemporaryArea, path));
      return std::unexpected(with_context(
          fmt::format("'{}' cannot be a store: directories cannot be exchanged in it", path),
          tried.error()));
    }
  }
  LAMINA_ASSIGN_OR_RETURN(store.pending_, make_area(store.fd(), path, kPendingArea, made));
  LAMINA_ASSIGN_OR_RETURN(store.vms_, make_area(store.fd(), path, kVmsArea, made));
  if (made) LAMINA_RETURN_IF_ERROR(os::sync(store.fd(), path));
  LAMINA_ASSIGN_OR_RETURN(store.locks_, make_area(store.fd(), path, kLockArea, made));
  LAMINA_RETURN_IF_ERROR(clean_up(store, notes));
  return store;
}

Result<std::shared_ptr<const Store>> StoreSource::open(const std::string& path,
                                                       std::vector<std::string>& notes) const {
  if (kept_ && kept_->path() == path) {
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts kept, os::facts_of(kept_->fd(), path));
    const auto there = os::facts_of_name(AT_FDCWD, path + "/.", path);
    if (!there || !there->same_file(kept)) {
      return fail(ErrorKind::kFailed,
                  "store '{}' was moved or exchanged after it was opened; open it again", path);
    }
    LAMINA_RETURN_IF_ERROR(clean_up(*kept_, notes));
    return kept_;
  }
  LAMINA_ASSIGN_OR_RETURN(Store opened, open_store(path, notes));
  return std::make_shared<const Store>(std::move(opened));
}

}  // namespace lamina::store
