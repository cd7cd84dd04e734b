#include "remote/arrival_end.h"

#include <fcntl.h>

#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/areas.h"
#include "store/name.h"
#include "store/open_store.h"
#include "store/push_record.h"
#include "store/snapshot_directory.h"

namespace lamina::remote {
namespace {

/// Renames it out of the area first, so that a crash leaves no half of it there.
Status remove_arrival(const store::Store& store, const std::string& name) {
  const std::string area_path = fmt::format("{}/{}", store.path(), store::kArrivingArea);
  bool made = false;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area,
                          store::make_area(store.fd(), store.path(), store::kArrivingArea, made));
  LAMINA_RETURN_IF_ERROR(
      os::rename_new(area.get(), name, store.temporary_area(), name, area_path + "/" + name));
  LAMINA_RETURN_IF_ERROR(os::sync(area.get(), area_path));
  return os::remove_tree(store.temporary_area(), name,
                         fmt::format("{}/{}/{}", store.path(), store::kTemporaryArea, name));
}

}  // namespace

Result<std::string> publish_arrived(store::Arrival& arrival, std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(const auto opened, store::StoreSource().open(arrival.store, notes));
  const store::Store& store = *opened;
  std::string name = arrival.facts.name;
  // A resume holds the lock while it pins the snapshot.
  LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.wait_for_lock(name));
  {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd directory,
                            os::open_directory(arrival.directory.get(), store::kArrivalSnapshotName,
                                               arrival.snapshot_path()));
    LAMINA_RETURN_IF_ERROR(
        os::remove_file(directory.get(), store::kArrivalMarkerName, arrival.snapshot_path()));
    LAMINA_RETURN_IF_ERROR(os::sync(directory.get(), arrival.snapshot_path()));
  }
  if (os::name_exists(store.fd(), name)) {
    name = fmt::format("{}@{}", name, arrival.facts.pause_id.to_string());
    notes.push_back(fmt::format("'{}' is another snapshot now; what has arrived is '{}'",
                                arrival.facts.name, name));
  }
  const std::string path = store.path() + "/" + name;
  LAMINA_RETURN_IF_ERROR(
      os::rename_new(arrival.directory.get(), store::kArrivalSnapshotName, store.fd(), name, path));
  arrival.map.set_state(store::ArrivalState::kWhole);
  LAMINA_RETURN_IF_ERROR(os::sync(store.fd(), store.path()));
  LAMINA_RETURN_IF_ERROR(os::sync(arrival.directory.get(), arrival.path));
  const Status recorded = store::write_push_record(
      store, arrival.facts.pause_id,
      {arrival.facts.bucket_name, arrival.facts.remote_name, arrival.facts.number});
  if (!recorded) {
    notes.push_back(fmt::format("'{}' is whole, but '{}' could not record where it came from: {}",
                                name, store.path(), one_line(recorded.error())));
  }
  const Status removed = remove_arrival(store, arrival.facts.id.to_string());
  if (!removed) {
    notes.push_back(fmt::format("'{}' is not needed and could not be removed: {}", arrival.path,
                                one_line(removed.error())));
  }
  return path;
}

Status remove_ended_arrivals(const store::Store& store) {
  LAMINA_ASSIGN_OR_RETURN(const auto ids, store::list_arrivals(store.path()));
  for (const Uuid& id : ids) {
    const auto arrival = store::open_arrival(store.path(), id);
    if (arrival || arrival.error().kind != ErrorKind::kNotFound) continue;
    // Page servers that have its map open ask for blocks until it says so: who published the
    // snapshot may have been killed before that.
    const std::string path =
        fmt::format("{}/{}/{}", store.path(), store::kArrivingArea, id.to_string());
    if (const auto directory = store::open_in_store(path)) {
      auto map = store::ArrivalMap::open(directory->get(), path);
      if (map) map->set_state(store::ArrivalState::kWhole);
    }
    LAMINA_RETURN_IF_ERROR(remove_arrival(store, id.to_string()));
  }
  return {};
}

}  // namespace lamina::remote
