#include "store/open_store.h"

#include <fcntl.h>

#include <cerrno>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/owner.h"
#include "store/adoption.h"
#include "store/areas.h"
#include "store/staging.h"

namespace lamina::store {
namespace {

/// Checks with two new directories that the file system can exchange them, as replacing a snapshot
/// does.
Status try_exchange(const Store& store) {
  LAMINA_ASSIGN_OR_RETURN(const Staging staging,
                          Staging::create(store, Area::kTemporary, Uuid::random()));
  for (const char* name : {"a", "b"}) {
    LAMINA_RETURN_IF_ERROR(os::make_directory(staging.fd(), name, staging.file_path(name)));
  }
  const Status exchanged =
      os::rename_exchange(staging.fd(), "a", staging.fd(), "b", staging.path());
  // The call is not known (ENOSYS), or the file system does not know the flag.
  const int cause = exchanged ? 0 : exchanged.error().error_number;
  if (cause != EINVAL && cause != ENOSYS && cause != EXDEV) return exchanged;
  return of_kind(
      ErrorKind::kUnsupported,
      std::unexpected(with_context("directories cannot be exchanged in it", exchanged.error())));
}

/// Cleans up what killed processes have left.
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
    return os::explain_directory_failure("store", path, std::move(directory.error()));
  }
  store.directory_ = std::move(*directory);
  LAMINA_ASSIGN_OR_RETURN(store.identity_, identity_of(store.fd(), path));
  LAMINA_RETURN_IF_ERROR(check_outside_areas(path));
  LAMINA_RETURN_IF_ERROR(check_not_a_snapshot(store.fd(), path));
  LAMINA_RETURN_IF_ERROR(os::check_store_owner(store.fd(), path));
  LAMINA_RETURN_IF_ERROR(check_areas(store.fd(), path));
  // The lock area is made last: its existence shows that the check has passed, and that the other
  // areas are on the disk.
  bool made = !os::name_exists(store.fd(), kLockArea);
  const bool is_new = made;
  LAMINA_ASSIGN_OR_RETURN(store.temporary_, make_area(store.fd(), path, kTemporaryArea, made));
  if (is_new) {
    const Status tried = try_exchange(store);
    if (!tried) {
      // Fails if it is not empty: another process uses it.
      static_cast<void>(os::remove_directory(store.fd(), kTemporaryArea, path));
      return std::unexpected(
          with_context(fmt::format("'{}' cannot be a store", path), tried.error()));
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
    LAMINA_RETURN_IF_ERROR(check_kept());
    LAMINA_RETURN_IF_ERROR(clean_up(*kept_, notes));
    return kept_;
  }
  LAMINA_ASSIGN_OR_RETURN(Store opened, open_store(path, notes));
  return std::make_shared<const Store>(std::move(opened));
}

Status StoreSource::check_kept() const {
  const std::string& path = kept_->path();
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts kept, os::facts_of(kept_->fd(), path));
  const auto there = os::facts_of_name(AT_FDCWD, path + "/.", path);
  if (there && there->same_file(kept)) return {};
  return with_remedy(
      fail(ErrorKind::kFailed, "store '{}' was renamed or replaced after it was opened", path),
      "open it again");
}

}  // namespace lamina::store
