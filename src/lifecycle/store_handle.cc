#include "base/contain.h"
#include "base/error.h"
#include "lamina/store.h"
#include "operations/with_store.h"
#include "store/name.h"
#include "store/open_store.h"

namespace lamina {

struct Store::State {
  std::string path;
  std::vector<std::string> notes;
  store::StoreSource stores;

  /// The path of a name in this store, which must still be the directory that was opened; or
  /// `snapshot`, if it is a path.
  [[nodiscard]] Result<std::string> path_of(const std::string& snapshot) const {
    if (snapshot.find('/') != std::string::npos) return snapshot;
    LAMINA_ASSIGN_OR_RETURN(store::SnapshotPath named, store::snapshot_in(path, snapshot));
    LAMINA_RETURN_IF_ERROR(stores.check_kept());
    return std::move(named.path);
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
  return contain("ingest", [&]() -> Result<IngestReport> {
    LAMINA_ASSIGN_OR_RETURN(options.snapshot, state_->path_of(options.snapshot));
    if (options.parent) {
      LAMINA_ASSIGN_OR_RETURN(options.parent, state_->path_of(*options.parent));
    }
    return operations::ingest(state_->stores, options);
  });
}

Result<MergeReport> Store::merge(MergeOptions options) const {
  return contain("merge", [&]() -> Result<MergeReport> {
    LAMINA_ASSIGN_OR_RETURN(options.snapshot, state_->path_of(options.snapshot));
    if (options.out) {
      LAMINA_ASSIGN_OR_RETURN(options.out, state_->path_of(*options.out));
    }
    return operations::merge(state_->stores, options);
  });
}

Result<CompactReport> Store::compact(CompactOptions options) const {
  return contain("compact", [&]() -> Result<CompactReport> {
    LAMINA_ASSIGN_OR_RETURN(options.snapshot, state_->path_of(options.snapshot));
    return operations::compact(state_->stores, options);
  });
}

Result<MaterializeReport> Store::materialize(MaterializeOptions options) const {
  return contain("materialize", [&]() -> Result<MaterializeReport> {
    LAMINA_ASSIGN_OR_RETURN(options.snapshot, state_->path_of(options.snapshot));
    return lamina::materialize(options);
  });
}

Result<VerifyReport> Store::verify(VerifyOptions options) const {
  return contain("verify", [&]() -> Result<VerifyReport> {
    LAMINA_ASSIGN_OR_RETURN(options.snapshot, state_->path_of(options.snapshot));
    return lamina::verify(options);
  });
}

Result<RepairReport> Store::repair(const std::string& snapshot) const {
  return contain("repair", [&]() -> Result<RepairReport> {
    LAMINA_ASSIGN_OR_RETURN(const std::string path, state_->path_of(snapshot));
    return operations::repair(state_->stores, path);
  });
}

Result<ForkReport> Store::fork(ForkOptions options) const {
  return contain("fork", [&]() -> Result<ForkReport> {
    LAMINA_ASSIGN_OR_RETURN(options.snapshot, state_->path_of(options.snapshot));
    LAMINA_ASSIGN_OR_RETURN(options.fork, state_->path_of(options.fork));
    return operations::fork_snapshot(state_->stores, options);
  });
}

Result<RemoveReport> Store::remove(RemoveOptions options) const {
  return contain("remove", [&]() -> Result<RemoveReport> {
    for (std::string& snapshot : options.snapshots) {
      LAMINA_ASSIGN_OR_RETURN(snapshot, state_->path_of(snapshot));
    }
    return operations::remove_snapshots(state_->stores, options);
  });
}

Result<PackReport> Store::pack(PackOptions options) const {
  return contain("pack", [&]() -> Result<PackReport> {
    LAMINA_ASSIGN_OR_RETURN(options.snapshot, state_->path_of(options.snapshot));
    return lamina::pack_snapshot(options);
  });
}

Result<UnpackReport> Store::unpack(UnpackOptions options) const {
  return contain("unpack", [&]() -> Result<UnpackReport> {
    LAMINA_ASSIGN_OR_RETURN(options.snapshot, state_->path_of(options.snapshot));
    return operations::unpack_snapshot(state_->stores, options);
  });
}

Result<FirecrackerExportReport> Store::export_firecracker(FirecrackerExportOptions options) const {
  return contain("export", [&]() -> Result<FirecrackerExportReport> {
    LAMINA_ASSIGN_OR_RETURN(options.snapshot, state_->path_of(options.snapshot));
    return lamina::export_firecracker(options);
  });
}

Result<SnapshotInfo> Store::inspect(const std::string& snapshot) const {
  return contain("inspect", [&]() -> Result<SnapshotInfo> {
    LAMINA_ASSIGN_OR_RETURN(const std::string path, state_->path_of(snapshot));
    return lamina::inspect(path);
  });
}

Result<SnapshotReader> Store::read(const std::string& snapshot) const {
  return contain("open the snapshot", [&]() -> Result<SnapshotReader> {
    LAMINA_ASSIGN_OR_RETURN(const std::string path, state_->path_of(snapshot));
    return SnapshotReader::open(path);
  });
}

Result<StoreListing> Store::list(const ListOptions& options) const {
  return contain("list the store", [&]() -> Result<StoreListing> {
    LAMINA_RETURN_IF_ERROR(state_->stores.check_kept());
    return list_store(state_->path, options);
  });
}

Result<PauseReport> Store::pause(PauseOptions options) const {
  return contain("pause", [&]() -> Result<PauseReport> {
    LAMINA_RETURN_IF_ERROR(state_->stores.check_kept());
    options.store = state_->path;
    return lamina::pause(options);
  });
}

Result<ResumeReport> Store::resume(ResumeOptions options) const {
  return contain("resume", [&]() -> Result<ResumeReport> {
    LAMINA_RETURN_IF_ERROR(state_->stores.check_kept());
    options.store = state_->path;
    return lamina::resume(options);
  });
}

Result<RecoverReport> Store::recover(RecoverOptions options) const {
  return contain("recover", [&]() -> Result<RecoverReport> {
    LAMINA_RETURN_IF_ERROR(state_->stores.check_kept());
    options.store = state_->path;
    return lamina::recover(options);
  });
}

}  // namespace lamina
