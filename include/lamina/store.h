// A store that is opened once and used for many operations.
//
//   auto store = lamina::Store::open("/var/lib/sandboxes");
//   if (!store) return fail(store.error().message);
//   auto report = store->ingest({.memory_file = "/run/vm/mem", .snapshot = "web-1"});
//
// The options are those of the functions of the same names (lamina/ingest.h, …), with one
// difference: a snapshot without a slash is a name in this store. With a slash it is a path, as
// there. The field `store` of the lifecycle's options is filled in.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/inspect.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/remove.h"
#include "lamina/repair.h"
#include "lamina/result.h"
#include "lamina/snapshot.h"
#include "lamina/verify.h"

namespace lamina {

/// A handle of a store. Copies are of one store; it is closed with the last. Thread-safe: any
/// number of threads may use one handle at once, and as many processes as there are may use the
/// store. Operations on one snapshot exclude each other by the lock of its name (kBusy).
///
/// When the store's directory is renamed, or another takes its place, operations that write fail
/// (kFailed): open the store again.
class Store {
 public:
  /// Opens the directory `path` for writing. It becomes a store when it is not one yet: lamina's
  /// own directories are made in it, after a trial whether the file system can do what a store
  /// needs. What processes that were killed have left is cleaned up; each operation that writes
  /// does so, too. kNotFound when there is no such directory; kFailed when it belongs to another
  /// user.
  static Result<Store> open(const std::string& path);

  /// As given to open().
  [[nodiscard]] const std::string& path() const;
  /// What was cleaned up when the store was opened, one line each.
  [[nodiscard]] const std::vector<std::string>& notes() const;
  /// The path of snapshot `name`: what the functions outside this class take.
  [[nodiscard]] std::string path_of(const std::string& name) const;

  [[nodiscard]] Result<IngestReport> ingest(IngestOptions options) const;
  [[nodiscard]] Result<MergeReport> merge(MergeOptions options) const;
  [[nodiscard]] Result<CompactReport> compact(CompactOptions options) const;
  [[nodiscard]] Result<MaterializeReport> materialize(MaterializeOptions options) const;
  [[nodiscard]] Result<VerifyReport> verify(VerifyOptions options) const;
  [[nodiscard]] Result<RepairReport> repair(const std::string& snapshot) const;
  [[nodiscard]] Result<ForkReport> fork(ForkOptions options) const;
  [[nodiscard]] Result<RemoveReport> remove(RemoveOptions options) const;
  [[nodiscard]] Result<SnapshotInfo> inspect(const std::string& snapshot) const;
  [[nodiscard]] Result<SnapshotReader> read(const std::string& snapshot) const;
  [[nodiscard]] Result<StoreListing> list(const ListOptions& options = {}) const;

  [[nodiscard]] Result<PauseReport> pause(PauseOptions options) const;
  [[nodiscard]] Result<ResumeReport> resume(ResumeOptions options) const;
  [[nodiscard]] Result<RecoverReport> recover(RecoverOptions options) const;

 private:
  struct State;
  explicit Store(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace lamina
