#include "store/arrival_removal.h"

#include <fcntl.h>

#include <utility>
#include <vector>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/areas.h"
#include "store/arrival_map.h"

namespace lamina::store {
namespace {

Result<os::LockedFd> open_lock_file(int directory, const std::string& path, const char* name) {
  LAMINA_ASSIGN_OR_RETURN(os::Fd file, os::open_at(directory, name, O_RDWR | O_CREAT,
                                                   fmt::format("{}/{}", path, name)));
  return os::LockedFd(std::move(file));
}

}  // namespace

Result<os::LockedFd> hold_arrival(int directory, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(os::LockedFd file, open_lock_file(directory, path, kArrivalUseName));
  LAMINA_RETURN_IF_ERROR(os::wait_for_shared_lock(file.get(), path));
  return file;
}

Status remove_arrival(const Store& store, const Uuid& id) {
  const std::string name = id.to_string();
  const std::string area_path = fmt::format("{}/{}", store.path(), kArrivingArea);
  bool made = false;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area,
                          make_area(store.fd(), store.path(), kArrivingArea, made));
  const Status renamed = os::rename_new(area.get(), name, store.temporary_area(), name,
                                        fmt::format("{}/{}", area_path, name));
  if (!renamed) return renamed.error().kind == ErrorKind::kNotFound ? Status() : renamed;
  LAMINA_RETURN_IF_ERROR(os::sync(area.get(), area_path));
  return os::remove_tree(store.temporary_area(), name,
                         fmt::format("{}/{}/{}", store.path(), kTemporaryArea, name));
}

Result<ArrivalClaim> claim_arrival(int directory, const std::string& path) {
  ArrivalClaim claim;
  LAMINA_ASSIGN_OR_RETURN(claim.fetch, open_lock_file(directory, path, kArrivalLockName));
  LAMINA_ASSIGN_OR_RETURN(const bool is_unfetched, os::try_lock(claim.fetch.get(), path));
  claim.is_fetched = !is_unfetched;
  LAMINA_ASSIGN_OR_RETURN(claim.use, open_lock_file(directory, path, kArrivalUseName));
  LAMINA_ASSIGN_OR_RETURN(const bool is_unused, os::try_lock(claim.use.get(), path));
  claim.is_being_resumed = !is_unused;
  return claim;
}

Result<bool> is_fetched(int directory, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::LockedFd file,
                          open_lock_file(directory, path, kArrivalLockName));
  return os::is_locked(file.get(), path);
}

Status remove_ended_arrivals(const Store& store) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<Uuid> ids, list_arrivals(store.path()));
  for (const Uuid& id : ids) {
    const std::string path = fmt::format("{}/{}/{}", store.path(), kArrivingArea, id.to_string());
    const auto directory = open_in_store(path);
    if (!directory || os::name_exists(directory->get(), kArrivalSnapshotName)) continue;
    const auto claim = claim_arrival(directory->get(), path);
    if (!claim || claim->is_fetched) continue;
    // Page servers that have its map open ask for blocks until it says so: who published the
    // snapshot may have been killed before that.
    auto map = ArrivalMap::open(directory->get(), path);
    if (map) map->set_state(ArrivalState::kWhole);
    LAMINA_RETURN_IF_ERROR(remove_arrival(store, id));
  }
  return {};
}

}  // namespace lamina::store
