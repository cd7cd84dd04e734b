#include "remote/arrival_end.h"

#include <fcntl.h>

#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/arrival_removal.h"
#include "store/name.h"
#include "store/open_store.h"
#include "store/push_record.h"
#include "store/snapshot_directory.h"

namespace lamina::remote {

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
    name = store::name_beside(arrival.facts.name, arrival.facts.pause_id);
    // The same state may have arrived before, and found its name taken then.
    if (os::name_exists(store.fd(), name)) {
      name = store::name_beside(arrival.facts.name, arrival.facts.id);
    }
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
  const Status removed = store::remove_arrival(store, arrival.facts.id);
  if (!removed) {
    notes.push_back(fmt::format("'{}' is not needed and could not be removed: {}", arrival.path,
                                one_line(removed.error())));
  }
  return path;
}

}  // namespace lamina::remote
