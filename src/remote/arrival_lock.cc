#include "remote/arrival_lock.h"

#include <fcntl.h>

#include <memory>
#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/arrival_removal.h"
#include "store/name.h"
#include "store/open_store.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_use.h"

namespace lamina::remote {
namespace {

Result<os::Fd> open_arrival_lock(const store::Arrival& arrival) {
  return os::open_at(arrival.directory.get(), store::kArrivalLockName, O_RDWR | O_CREAT,
                     arrival.file_path(store::kArrivalLockName));
}

Result<store::SnapshotPath> target_of(const PullOptions& options) {
  return store::snapshot_in(options.store, options.as.empty() ? options.name : options.as);
}

}  // namespace

Result<LockedArrival> lock_arrival(const std::string& store, const Uuid& id) {
  auto arrival = store::open_arrival(store, id);
  if (!arrival && arrival.error().kind == ErrorKind::kNotFound) {
    std::vector<std::string> notes;
    LAMINA_ASSIGN_OR_RETURN(const auto opened, store::StoreSource().open(store, notes));
    LAMINA_RETURN_IF_ERROR(store::remove_ended_arrivals(*opened));
  }
  if (!arrival) return std::unexpected(arrival.error());
  LAMINA_ASSIGN_OR_RETURN(os::Fd file, open_arrival_lock(*arrival));
  LAMINA_ASSIGN_OR_RETURN(const bool is_locked, os::try_lock(file.get(), arrival->path));
  if (!is_locked) {
    return fail(ErrorKind::kBusy, "another process fetches '{}' already", arrival->facts.name);
  }
  os::LockedFd lock(std::move(file));
  // It may have ended between the two calls.
  LAMINA_ASSIGN_OR_RETURN(store::Arrival again, store::open_arrival(store, id));
  return LockedArrival{std::move(again), std::move(lock)};
}

Result<std::optional<LockedArrival>> wait_for_arrival(const PullOptions& options) {
  LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath target, target_of(options));
  constexpr std::chrono::milliseconds kPoll{100};
  while (true) {
    LAMINA_ASSIGN_OR_RETURN(const auto arrival, store::find_arrival(target.store, target.name));
    if (!arrival) return std::nullopt;
    if (options.progress != nullptr && options.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    auto locked = lock_arrival(target.store, arrival->facts.id);
    if (locked) return std::optional(std::move(*locked));
    if (locked.error().kind == ErrorKind::kNotFound) continue;
    if (locked.error().kind != ErrorKind::kBusy) return std::unexpected(locked.error());
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file, open_arrival_lock(*arrival));
    const Status waited = os::wait_for_lock(file.get(), arrival->path, kPoll);
    if (waited) os::unlock(file.get());
    if (!waited && waited.error().kind != ErrorKind::kBusy) return std::unexpected(waited.error());
  }
}

PullReport report_of(const store::Arrival& arrival) {
  PullReport report;
  report.name = arrival.facts.remote_name;
  report.number = arrival.facts.number;
  report.pause_id = arrival.facts.pause_id;
  report.fetched_layers = static_cast<std::uint32_t>(arrival.facts.layers.size());
  const auto opened = store::open_snapshot(arrival.snapshot_path(), engine::Checksums::kSkip);
  if (opened) {
    report.generation = opened->header.generation;
    report.memory_bytes = opened->header.memory_bytes;
    report.linked_layers =
        static_cast<std::uint32_t>(opened->header.mapping.layers().size()) - report.fetched_layers;
  }
  return report;
}

namespace {

struct HeldArrival {
  std::optional<store::Arrival> arrival;
  std::shared_ptr<const void> hold;
};

Result<os::LockedFd> share_use_of(const store::Arrival& arrival) {
  const std::string path = arrival.snapshot_path();
  LAMINA_ASSIGN_OR_RETURN(
      const os::Fd directory,
      os::open_directory(arrival.directory.get(), store::kArrivalSnapshotName, path));
  return store::share_snapshot_use(directory.get(), path);
}

/// Finds an arrival that stays until it is resumed.
Result<HeldArrival> find_and_hold(const store::SnapshotPath& target) {
  while (true) {
    LAMINA_ASSIGN_OR_RETURN(auto arrival, store::find_arrival(target.store, target.name));
    if (!arrival) return HeldArrival{};
    auto held = store::hold_arrival(arrival->directory.get(), arrival->path);
    if (!held && held.error().kind != ErrorKind::kNotFound) return std::unexpected(held.error());
    // It may have been removed, or have become whole, before the lock was there.
    auto again = store::open_arrival(target.store, arrival->facts.id);
    if (held && again) {
      // It may become whole at any moment: then this keeps it from being evicted.
      auto use = share_use_of(*again);
      if (!use && use.error().kind == ErrorKind::kNotFound) continue;
      if (!use) return std::unexpected(use.error());
      return HeldArrival{std::move(*again), std::make_shared<std::pair<os::LockedFd, os::LockedFd>>(
                                                std::move(*held), std::move(*use))};
    }
    if (!again && again.error().kind != ErrorKind::kNotFound) return std::unexpected(again.error());
  }
}

}  // namespace

Result<std::optional<LazyPullReport>> known_pull(const PullOptions& options) {
  LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath target, target_of(options));
  LAMINA_ASSIGN_OR_RETURN(auto found, find_and_hold(target));
  const std::optional<store::Arrival>& arrival = found.arrival;
  LazyPullReport report;
  report.hold = std::move(found.hold);
  report.is_already_there = true;
  report.is_arriving = arrival.has_value();
  if (arrival) report.pull = report_of(*arrival);
  report.pull.name = options.name;
  report.pull.snapshot = target.path;
  if (arrival) return std::optional(std::move(report));
  LAMINA_ASSIGN_OR_RETURN(auto use, store::hold_snapshot(target.path));
  if (use) report.hold = std::make_shared<os::LockedFd>(std::move(*use));
  if (use || os::name_exists(AT_FDCWD, target.path)) return std::optional(std::move(report));
  return std::nullopt;
}

}  // namespace lamina::remote
