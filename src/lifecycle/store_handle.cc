#include "base/contain.h"
#include "base/error.h"
#include "lamina/store.h"
#include "operations/with_store.h"
#include "store/open_store.h"

namespace lamina {

struct Store::State {
  std::string path;
  std::vector<std::string> notes;
  store::StoreSource stores;

  /// A name in this store, or a path.
  [[nodiscard]] std::string path_of(const std::string& snapshot) const {
    return snapshot.find('/') == std::string::npos ? path + "/" + snapshot : snapshot;
  }
};

Result<Store> Store::open(const std::string& path) {
  return contain("open the store", [&]() -> Result<Store> {
    std::vector<std::string> notes;
    LAMINA_ASSIGN_OR_RETURN(store::Store opened, store::open_store(path, notes));
    store::StoreSource stores(std::make_shared<const store::Store>(std::move(opened)));
    return Store(std::make_shared<const State>(State{path, std::move(notes), std::move(stores)}));
  });
}

const std::string& Store::path() const { return state_->path; }
const std::vector<std::string>& Store::notes() const { return state_->notes; }
std::string Store::path_of(const std::string& name) const { return state_->path + "/" + name; }

Result<IngestReport> Store::ingest(IngestOptions options) const {
  options.snapshot = state_->path_of(options.snapshot);
  if (options.parent) options.parent = state_->path_of(*options.parent);
  return operations::ingest(state_->stores, options);
}

Result<MergeReport> Store::merge(MergeOptions options) const {
  options.snapshot = state_->path_of(options.snapshot);
  if (options.out) options.out = state_->path_of(*options.out);
  return operations::merge(state_->stores, options);
}

Result<CompactReport> Store::compact(CompactOptions options) const {
  options.snapshot = state_->path_of(options.snapshot);
  return operations::compact(state_->stores, options);
}

Result<MaterializeReport> Store::materialize(MaterializeOptions options) const {
  options.snapshot = state_->path_of(options.snapshot);
  return lamina::materialize(options);
}

Result<VerifyReport> Store::verify(VerifyOptions options) const {
  options.snapshot = state_->path_of(options.snapshot);
  return lamina::verify(options);
}

Result<RepairReport> Store::repair(const std::string& snapshot) const {
  return operations::repair(state_->stores, state_->path_of(snapshot));
}

Result<ForkReport> Store::fork(ForkOptions options) const {
  options.snapshot = state_->path_of(options.snapshot);
  options.fork = state_->path_of(options.fork);
  return operations::fork_snapshot(state_->stores, options);
}

Result<RemoveReport> Store::remove(RemoveOptions options) const {
  for (std::string& snapshot : options.snapshots) snapshot = state_->path_of(snapshot);
  return operations::remove_snapshots(state_->stores, options);
}

Result<SnapshotInfo> Store::inspect(const std::string& snapshot) const {
  return lamina::inspect(state_->path_of(snapshot));
}

Result<SnapshotReader> Store::read(const std::string& snapshot) const {
  return SnapshotReader::open(state_->path_of(snapshot));
}

Result<StoreListing> Store::list(const ListOptions& options) const {
  return list_store(state_->path, options);
}

Result<PauseReport> Store::pause(PauseOptions options) const {
  options.store = state_->path;
  return lamina::pause(options);
}

Result<ResumeReport> Store::resume(ResumeOptions options) const {
  options.store = state_->path;
  return lamina::resume(options);
}

Result<RecoverReport> Store::recover(RecoverOptions options) const {
  options.store = state_->path;
  return lamina::recover(options);
}

}  // namespace lamina
