#include "store/store.h"

#include <fcntl.h>

#include "base/contain.h"
#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/owner.h"
#include "store/areas.h"

namespace lamina::store {
// Only the holder of a lock removes its file. A process that has waited for the lock then sees that
// the name is free or names another file, and tries again. So two processes never hold the lock of
// one name by two different files.
struct NameLock::Held {
  std::string name;
  os::LockedFd file;
  os::Fd locks;
  os::Fd store;

  Held() = default;
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  Held(Held&&) = delete;
  Held& operator=(Held&&) = delete;
  ~Held() {
    // Names that begin with a dot are lamina's own locks.
    if (name.empty() || name.starts_with('.')) return;
    static_cast<void>(contain("unlock", [&]() -> Status {
      const auto snapshot = os::facts_of_name(store.get(), name, name);
      if (snapshot || snapshot.error().kind != ErrorKind::kNotFound) return {};
      return os::remove_file(locks.get(), name, name);
    }));
  }
};

Result<std::shared_ptr<NameLock::Held>> Store::take_lock(const std::string& name, bool wait) const {
  const std::string path = fmt::format("{}/{}/{}", path_, kLockArea, name);
  if (os::is_symbolic_link(fd(), name)) {
    return fail(ErrorKind::kFailed,
                "'{}/{}' is a symbolic link and cannot be written through; name the snapshot that "
                "it leads to",
                path_, name);
  }
  while (true) {
    LAMINA_ASSIGN_OR_RETURN(os::OpenedFile file,
                            os::open_regular(locks_.get(), name, O_RDWR | O_CREAT, path));
    if (wait) {
      LAMINA_RETURN_IF_ERROR(os::wait_for_lock(file.fd.get(), path));
    } else {
      LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(file.fd.get(), path));
      if (!locked) return nullptr;
    }
    const auto named = os::facts_of_name(locks_.get(), name, path);
    if (!named && named.error().kind != ErrorKind::kNotFound) {
      return std::unexpected(named.error());
    }
    if (!named || !named->same_file(file.facts)) continue;  // the last holder has removed it
    auto held = std::make_shared<NameLock::Held>();
    LAMINA_ASSIGN_OR_RETURN(held->locks, os::duplicate(locks_.get(), path));
    LAMINA_ASSIGN_OR_RETURN(held->store, os::duplicate(fd(), path_));
    held->file = os::LockedFd(std::move(file.fd));
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
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(locks_.get(), fmt::format("{}/{}", path_, kLockArea)));
  for (const std::string& name : names) {
    if (name.starts_with('.') || os::name_exists(fd(), name)) continue;
    // The destructor of the lock removes the file. Entries that are not lock files are left alone.
    static_cast<void>(take_lock(name, false));
  }
  return {};
}

}  // namespace lamina::store
