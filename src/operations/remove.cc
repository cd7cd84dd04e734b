#include "lamina/remove.h"

#include <fcntl.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/contain.h"
#include "base/error.h"
#include "operations/disk_use.h"
#include "operations/pin_summary.h"
#include "operations/snapshot_summary.h"
#include "operations/with_store.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "store/areas.h"
#include "store/name.h"
#include "store/snapshot_directory.h"
#include "store/store.h"

namespace lamina {
namespace {

using store::SnapshotPath;
using store::Store;

struct Found {
  os::Fd directory;
  os::FileFacts facts;
};

/// Opens the named directory, if it is a snapshot's.
Result<Found> find_snapshot(int directory, const std::string& name, const std::string& path) {
  const auto named = os::facts_of_name(directory, name, path);
  if (!named) {
    if (named.error().kind != ErrorKind::kNotFound) return std::unexpected(named.error());
    return fail(ErrorKind::kNotFound, "snapshot '{}' does not exist", path);
  }
  if (named->is_symbolic_link) {
    return fail(ErrorKind::kFailed,
                "'{}' is a symbolic link and not removed; name the snapshot that it leads to",
                path);
  }
  if (!named->is_directory) {
    return fail(ErrorKind::kFailed, "'{}' is not a snapshot (not a directory) and was not removed",
                path);
  }
  Found found;
  LAMINA_ASSIGN_OR_RETURN(found.directory,
                          os::open_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, path));
  LAMINA_ASSIGN_OR_RETURN(found.facts, os::facts_of(found.directory.get(), path));
  if (!os::name_exists(found.directory.get(), store::kHeaderName) &&
      !os::name_exists(found.directory.get(), store::kFactsName)) {
    return fail(ErrorKind::kFailed, "'{}' is not a snapshot (no {} in it) and was not removed",
                path, store::kHeaderName);
  }
  return found;
}

/// Removes the files of a directory that has left the store, and counts what that frees. The link
/// count after each unlink tells whether the name was a file's last.
class FileRemoval {
 public:
  explicit FileRemoval(const os::Fd& directory) : directory_(directory.get()) {}

  Status run(const std::string& path) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            os::list_directory(directory_, path));
    for (const std::string& name : names) LAMINA_RETURN_IF_ERROR(remove(name, path + "/" + name));
    return {};
  }

  /// The same, with `first` before all other files and `last` after them.
  Status run_in_order(const std::string& path, const std::string& first, const std::string& last) {
    LAMINA_ASSIGN_OR_RETURN(std::vector<std::string> names, os::list_directory(directory_, path));
    const auto rank = [&](const std::string& name) {
      return name == first ? 0 : name == last ? 2 : 1;
    };
    std::sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
      const int rank_of_a = rank(a);
      const int rank_of_b = rank(b);
      return rank_of_a != rank_of_b ? rank_of_a < rank_of_b : a < b;
    });
    for (const std::string& name : names) LAMINA_RETURN_IF_ERROR(remove(name, path + "/" + name));
    return {};
  }

  [[nodiscard]] operations::RemovalTally::Bytes bytes() const {
    operations::RemovalTally::Bytes sums;
    for (const auto& [inode, facts] : removed_) {
      (facts.link_count == 0 ? sums.freed : sums.remaining) += facts.allocated_bytes;
    }
    return sums;
  }

 private:
  Status remove(const std::string& name, const std::string& path) {
    const auto file = os::open_at(directory_, name, O_PATH | O_NOFOLLOW, path);
    if (!file) {
      if (file.error().kind == ErrorKind::kNotFound) return {};
      return std::unexpected(file.error());
    }
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts before, os::facts_of(file->get(), path));
    if (before.is_directory) return os::remove_tree(directory_, name, path);
    LAMINA_RETURN_IF_ERROR(os::remove_file(directory_, name, path));
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts after, os::facts_of(file->get(), path));
    os::FileFacts& removed = removed_[after.inode];
    removed = after;
    removed.allocated_bytes = before.allocated_bytes;
    return {};
  }

  int directory_;
  std::map<std::uint64_t, os::FileFacts> removed_;
};

class Removal {
 public:
  /// `may_go` may be null.
  Removal(const store::StoreSource& stores, const RemoveOptions& options,
          const operations::RemovalCheck* may_go)
      : stores_(stores), options_(options), may_go_(may_go) {}

  Result<RemoveReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    if (options_.pause_id && options_.snapshots.size() != 1) {
      return fail(ErrorKind::kUsage, "a pause id was given for {} snapshots; it is for one",
                  options_.snapshots.size());
    }
    std::vector<SnapshotPath> targets;
    for (const std::string& path : options_.snapshots) {
      LAMINA_ASSIGN_OR_RETURN(SnapshotPath target, store::parse_snapshot_path(path));
      if (os::name_exists(AT_FDCWD, target.store + "/.")) {
        LAMINA_RETURN_IF_ERROR(store::check_outside_areas(target.store));
      }
      targets.push_back(std::move(target));
    }
    // Open all before removing any: a snapshot that is named twice is not found the second time.
    std::erase_if(targets, [&](const SnapshotPath& target) { return is_repeated(target); });
    for (const SnapshotPath& target : targets) {
      RemovedSnapshot removed;
      removed.snapshot = target.path;
      const Status done = find_and_remove(target, removed);
      if (!done) removed.error = done.error();
      report_.snapshots.push_back(std::move(removed));
    }
    return {};
  }

  /// True, with a note, if the snapshot was named before, also by another path.
  bool is_repeated(const SnapshotPath& target) {
    const auto found = find_snapshot(AT_FDCWD, target.path, target.path);
    const bool is_new = found ? seen_.emplace(found->facts.device, found->facts.inode).second
                              : missing_.insert(target.path).second;
    if (is_new) return false;
    report_.notes.push_back(fmt::format("'{}' is named more than once", target.path));
    return true;
  }

  Status find_and_remove(const SnapshotPath& target, RemovedSnapshot& removed) {
    if (options_.progress != nullptr && options_.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted; '{}' is not removed", target.path);
    }
    LAMINA_ASSIGN_OR_RETURN(const Found found, find_snapshot(AT_FDCWD, target.path, target.path));
    return remove(target, found, removed);
  }

  Status remove(const SnapshotPath& target, const Found& found, RemovedSnapshot& removed) {
    removed.pause_id = operations::pause_id_of(found.directory.get(), target.path);
    if (options_.pause_id && removed.pause_id != options_.pause_id) {
      return fail(ErrorKind::kNotFound, "snapshot '{}' has the state of {}, not of pause {}",
                  target.path,
                  removed.pause_id ? "pause " + removed.pause_id->to_string() : "an unknown pause",
                  options_.pause_id->to_string());
    }
    removed.running_vms = running_vms(target, removed.pause_id);
    if (!options_.dry_run) return remove_from_store(target, found, removed);
    operations::FileScan scan = operations::files_below(found.directory.get(), target.path);
    if (scan.error) return std::unexpected(std::move(*scan.error));
    const auto bytes = tally_.remove(scan.files);
    removed.freed_bytes = bytes.freed;
    removed.remaining_bytes = bytes.remaining;
    return {};
  }

  std::uint64_t running_vms(const SnapshotPath& target, const std::optional<Uuid>& pause_id) {
    auto pins = pins_.find(target.store);
    if (pins == pins_.end()) {
      pins = pins_.emplace(target.store, operations::summarize_pins(target.store, report_.notes))
                 .first;
    }
    std::uint64_t count = 0;
    for (const operations::PinSummary& pin : pins->second) {
      if (operations::is_used_by(pin.listing, pause_id, target.name)) ++count;
    }
    return count;
  }

  Result<std::shared_ptr<const Store>> opened(const std::string& path) {
    std::shared_ptr<const Store>& known = opened_[path];
    if (!known) {
      LAMINA_ASSIGN_OR_RETURN(known, stores_.open(path, report_.notes));
    }
    return known;
  }

  Status remove_from_store(const SnapshotPath& target, const Found& found,
                           RemovedSnapshot& removed) {
    LAMINA_ASSIGN_OR_RETURN(const std::shared_ptr<const Store> store, opened(target.store));
    LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store->lock(target.name));
    LAMINA_ASSIGN_OR_RETURN(const Found again,
                            find_snapshot(store->fd(), target.name, target.path));
    if (!again.facts.same_file(found.facts)) {
      return fail(ErrorKind::kBusy,
                  "snapshot '{}' was replaced by another process meanwhile; try again",
                  target.path);
    }
    if (may_go_ != nullptr) {
      LAMINA_RETURN_IF_ERROR((*may_go_)(again.directory.get(), target.path, target.name));
    }
    // Lock it, so that no clean-up removes it while this process does.
    static_cast<void>(os::try_lock(again.directory.get(), target.path));
    const std::string id = Uuid::random().to_string();
    const Status taken_out = take_out(*store, target, id);
    if (may_go_ == nullptr && !taken_out && taken_out.error().kind == ErrorKind::kNoSpace &&
        is_in_place(*store, target, again)) {
      return remove_in_place(*store, target, again.directory, removed);
    }
    LAMINA_RETURN_IF_ERROR(taken_out);
    remove_files(*store, target, id, again.directory, removed);
    return {};
  }

  /// Renames the snapshot into the temporary area, and syncs that. On failure it is back in its
  /// place, or the message says where it is.
  static Status take_out(const Store& store, const SnapshotPath& target, const std::string& id) {
    const int area = store.temporary_area();
    LAMINA_RETURN_IF_ERROR(os::rename_new(store.fd(), target.name, area, id, target.path));
    const auto sync_both = [&]() -> Status {
      LAMINA_RETURN_IF_ERROR(os::sync(store.fd(), target.store));
      return os::sync(area, fmt::format("{}/{}", target.store, store::kTemporaryArea));
    };
    const Status synced = sync_both();
    if (synced) return {};
    // A power failure could undo the rename, so the files must not be removed.
    const Status back = os::rename_new(area, id, store.fd(), target.name, target.path);
    if (back) return synced;
    return std::unexpected(with_context(
        fmt::format("'{}' is now '{}/{}/{}', and the next writer removes it ({})", target.path,
                    target.store, store::kTemporaryArea, id, one_line(back.error())),
        synced.error()));
  }

  static bool is_in_place(const Store& store, const SnapshotPath& target, const Found& found) {
    const auto named = os::facts_of_name(store.fd(), target.name, target.path);
    return named && named->same_file(found.facts);
  }

  /// Removes the snapshot in place, for a file system without space for a rename that can still
  /// remove names (btrfs with full metadata). The header is removed first, so that an incomplete
  /// snapshot is never taken for a complete one, and the facts last, so that the removal can be
  /// repeated.
  Status remove_in_place(const Store& store, const SnapshotPath& target, const os::Fd& directory,
                         RemovedSnapshot& removed) {
    FileRemoval removal(directory);
    LAMINA_RETURN_IF_ERROR(
        removal.run_in_order(target.path, store::kHeaderName, store::kFactsName));
    LAMINA_RETURN_IF_ERROR(os::remove_directory(store.fd(), target.name, target.path));
    const auto bytes = removal.bytes();
    removed.freed_bytes = bytes.freed;
    removed.remaining_bytes = bytes.remaining;
    return os::sync(store.fd(), target.store);
  }

  void remove_files(const Store& store, const SnapshotPath& target, const std::string& id,
                    const os::Fd& directory, RemovedSnapshot& removed) {
    const std::string path = fmt::format("{}/{}/{}", target.store, store::kTemporaryArea, id);
    FileRemoval removal(directory);
    Status done = removal.run(path);
    if (done) done = os::remove_directory(store.temporary_area(), id, path);
    if (!done) {
      report_.notes.push_back(
          fmt::format("'{}' is removed, but not all of its files; the next writer tries again: {}",
                      target.path, one_line(done.error())));
    }
    const auto bytes = removal.bytes();
    removed.freed_bytes = bytes.freed;
    removed.remaining_bytes = bytes.remaining;
  }

  const store::StoreSource& stores_;
  const RemoveOptions& options_;
  const operations::RemovalCheck* may_go_;
  RemoveReport report_;
  std::map<std::string, std::shared_ptr<const Store>> opened_;
  std::map<std::string, std::vector<operations::PinSummary>> pins_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
  std::set<std::string> missing_;
  operations::RemovalTally tally_;
};

}  // namespace

Result<RemoveReport> operations::remove_snapshots(const store::StoreSource& stores,
                                                  const RemoveOptions& options) {
  return contain("remove", [&] { return Removal(stores, options, nullptr).run(); });
}

Result<RemoveReport> operations::remove_snapshot_if(const store::StoreSource& stores,
                                                    const RemoveOptions& options,
                                                    const RemovalCheck& may_go) {
  return contain("remove", [&] { return Removal(stores, options, &may_go).run(); });
}

Result<RemoveReport> remove_snapshots(const RemoveOptions& options) {
  return operations::remove_snapshots({}, options);
}

}  // namespace lamina
