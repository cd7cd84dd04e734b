// An eviction is a removal as by `lamina rm` that first proves that nothing is lost:
//
// 1. .lock/.cache: one process at a time bounds the cache of a store.
// 2. A snapshot is chosen (cache_policy.h).
// 3. The bucket is asked for it (cache_proof.h), without a lock of the snapshot: the answer may
// take
//    long.
// 4. The lock of the name, which is not waited for: a pause, a merge, a pull or a fork may have it.
// 5. The lock of its use (store/snapshot_use.h), likewise: a resume may be about to pin it.
// 6. Another look: it is still the same directory and pause, and nothing pins it.
// 7. Rename, sync, removal of the files.
//
// What the bucket answered can change before the rename only if somebody asks for it: a removal of
// the name, or a push over it.
#include "remote/cache.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "lamina/listing.h"
#include "mapping/mapping.h"
#include "operations/disk_use.h"
#include "operations/pin_summary.h"
#include "operations/snapshot_summary.h"
#include "operations/with_store.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/long_wait.h"
#include "remote/bucket.h"
#include "remote/cache_policy.h"
#include "remote/cache_proof.h"
#include "remote/name_wait.h"
#include "store/arrival.h"
#include "store/name.h"
#include "store/open_store.h"
#include "store/push_record.h"
#include "store/resume_count.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_use.h"
#include "store/store_identity.h"

namespace lamina::remote {
namespace {

constexpr const char* kCacheLock = ".cache";
constexpr const char* kInUse = "that VMs run from";
constexpr const char* kOnce = "that may be resumed only once, which this store alone has counted";
constexpr const char* kBusy = "that are being used or written";
constexpr const char* kComing = "that was just pulled or resumed";
constexpr const char* kUnreadable = "whose records in the bucket are damaged";
constexpr const char* kNotRemoved = "that could not be removed";
/// Another process that asks a bucket which does not answer gives up before that.
constexpr std::chrono::minutes kLongestWait{5};

bool is_layer(const std::string& name) { return store::parse_layer_file_name(name).has_value(); }

/// The files of an open snapshot. Attached files may be in directories: these are counted whole.
Result<std::vector<CachedFile>> cached_files(int directory, const std::string& path) {
  const operations::FileScan scan = operations::files_below(directory, path);
  if (scan.error) return std::unexpected(*scan.error);
  std::vector<std::uint64_t> layers;
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(directory, path));
  for (const std::string& name : names) {
    if (!is_layer(name)) continue;
    const auto facts = os::facts_of_name(directory, name, path);
    if (facts) layers.push_back(facts->inode);
  }
  std::vector<CachedFile> files;
  files.reserve(scan.files.size());
  for (const FileUse& use : scan.files) {
    files.push_back({use, std::ranges::find(layers, use.inode) != layers.end()});
  }
  return files;
}

/// True if a VM was resumed from this pause or name, or is about to be: also one that has ended
/// and that no recovery has looked at.
bool is_pinned(const std::vector<operations::PinSummary>& pins, const Uuid& pause_id,
               const std::string& name) {
  return std::ranges::any_of(pins, [&](const operations::PinSummary& pin) {
    return pin.listing.base_pause_id == pause_id || pin.listing.snapshot == name;
  });
}

/// What the files of an arriving snapshot will take. Of layers that arrive, these are the blocks
/// that the memory uses, or what is here if that is more: their files have holes. Layers that the
/// store had are counted there.
std::uint64_t bytes_of(const store::Arrival& arrival) {
  const std::string path = arrival.snapshot_path();
  const auto opened = store::open_snapshot(path, engine::Checksums::kSkip);
  if (!opened) return 0;
  const std::vector<std::string>& arriving = arrival.facts.layers;
  const auto arrives = [&](const std::string& name) {
    return std::ranges::find(arriving, name) != arriving.end();
  };
  std::uint64_t others = 0;
  std::uint64_t here = 0;
  if (const auto names = os::list_directory(opened->directory.get(), path)) {
    for (const std::string& name : *names) {
      const auto facts = os::facts_of_name(opened->directory.get(), name, path);
      if (!facts) continue;
      if (arrives(name)) {
        here += facts->allocated_bytes;
      } else if (!is_layer(name)) {
        others += facts->allocated_bytes;
      }
    }
  }
  const mapping::Mapping& mapping = opened->header.mapping;
  const auto ids = mapping.layers();
  std::uint64_t used_blocks = 0;
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const mapping::Extent extent = mapping.extent(i);
    if (extent.layer == mapping::kZeros) continue;
    if (arrives(store::layer_file_name(ids[extent.layer - 1U]))) used_blocks += extent.block_count;
  }
  return others + std::max(here, used_blocks * kBlockBytes);
}

class Eviction {
 public:
  Eviction(object_store::ObjectStore& bucket, const CacheBound& bound)
      : objects_(bucket), bound_(bound) {}

  Result<CacheReport> run() {
    LAMINA_ASSIGN_OR_RETURN(contents_, scan());
    // Most often nothing is to be done, and then nothing is locked.
    if (is_within()) return finish();
    LAMINA_ASSIGN_OR_RETURN(store_, store::StoreSource().open(bound_.store, report_.notes));
    LAMINA_ASSIGN_OR_RETURN(const std::optional<store::NameLock> lock, wait_for_turn());
    if (!lock) return finish();
    // Another process may have evicted meanwhile.
    LAMINA_ASSIGN_OR_RETURN(contents_, scan());
    while (!is_within()) {
      const auto next = contents_->next();
      if (!next) break;
      LAMINA_ASSIGN_OR_RETURN(const bool goes_on, evict(*next));
      if (!goes_on) break;
    }
    return finish();
  }

 private:
  [[nodiscard]] std::uint64_t bytes() const { return contents_->bytes() + arriving_bytes_; }

  [[nodiscard]] bool is_within() const {
    return bytes() <= bound_.limit_bytes && bound_.incoming_bytes <= bound_.limit_bytes - bytes();
  }

  Result<CacheReport> finish() {
    report_.cache_bytes = bytes();
    // Of a pull, what is to be said is known when it has ended.
    if (bound_.incoming_bytes == 0 && !is_within()) report_.notes.push_back(why_above());
    return std::move(report_);
  }

  [[nodiscard]] std::string why_above() const {
    const std::uint64_t all = bytes() + bound_.incoming_bytes;
    std::string text = fmt::format("the cache in '{}' is {} bytes above its bound of {}",
                                   bound_.store, all - bound_.limit_bytes, bound_.limit_bytes);
    std::string separator = "; what stays: ";
    for (const auto& [reason, count] : contents_->reasons()) {
      text += fmt::format("{}{} {}", std::exchange(separator, ", "), count, reason);
    }
    if (arriving_bytes_ > 0) text += fmt::format("; {} bytes are arriving", arriving_bytes_);
    return text;
  }

  /// All snapshots whose own name has a record in this bucket.
  Result<std::optional<CacheContents>> scan() {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd store,
                            os::open_directory(AT_FDCWD, bound_.store, bound_.store));
    LAMINA_ASSIGN_OR_RETURN(const store::StoreIdentity identity,
                            store::identity_of_store(bound_.store));
    std::vector<std::string> notes;
    const auto pins = operations::summarize_pins(bound_.store, notes);
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> paths, snapshots_of(bound_.store));
    std::vector<CachedSnapshot> snapshots;
    for (const std::string& path : paths) {
      auto snapshot = cached_snapshot(path, store.get(), identity);
      if (!snapshot) continue;
      if (snapshot->name == bound_.keep) {
        snapshot->kept = kComing;
      } else if (is_pinned(pins, snapshot->pause_id, snapshot->name)) {
        snapshot->kept = kInUse;
      }
      snapshots.push_back(std::move(*snapshot));
    }
    arriving_bytes_ = bytes_that_arrive();
    return CacheContents(std::move(snapshots));
  }

  /// Absent: not of the cache, or it cannot be read, or it is gone meanwhile.
  std::optional<CachedSnapshot> cached_snapshot(const std::string& path, int store,
                                                const store::StoreIdentity& identity) {
    const auto directory = os::open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, path);
    if (!directory) return std::nullopt;
    const auto pause_id = operations::pause_id_of(directory->get(), path);
    if (!pause_id) return std::nullopt;
    CachedSnapshot snapshot;
    snapshot.name = path.substr(path.rfind('/') + 1);
    snapshot.pause_id = *pause_id;
    const std::string remote = objects_.name_of("");
    if (!store::find_push_record(bound_.store, *pause_id, remote, snapshot.name)) {
      return std::nullopt;
    }
    snapshot.last_use_ns =
        std::max(store::last_resume_ns(store, identity, *pause_id),
                 store::push_record_ns(bound_.store, *pause_id, remote, snapshot.name));
    auto files = cached_files(directory->get(), path);
    if (!files) return std::nullopt;
    snapshot.files = std::move(*files);
    // Its mark goes with its last snapshot, and what is pulled later could be resumed once more.
    const auto facts = store::read_facts(directory->get(), path);
    if (!facts || (*facts && (*facts)->once)) snapshot.kept = kOnce;
    return snapshot;
  }

  /// Of arriving snapshots, with what is still to come.
  [[nodiscard]] std::uint64_t bytes_that_arrive() const {
    std::uint64_t sum = 0;
    const auto ids = store::list_arrivals(bound_.store);
    if (!ids) return 0;
    for (const Uuid& id : *ids) {
      const auto arrival = store::open_arrival(bound_.store, id);
      if (arrival) sum += bytes_of(*arrival);
    }
    return sum;
  }

  /// The lock of all that bound the cache. Absent, with a note: another process has it for long.
  Result<std::optional<store::NameLock>> wait_for_turn() {
    const os::LongWait waiting;
    auto lock = wait_for_name(*store_, kCacheLock, kLongestWait, bound_.progress);
    if (lock) return std::optional(std::move(*lock));
    if (lock.error().kind != ErrorKind::kBusy) return std::unexpected(lock.error());
    LAMINA_RETURN_IF_ERROR(check_interruption());
    report_.notes.push_back(fmt::format(
        "another process bounds the cache in '{}' for long; it was not waited for", bound_.store));
    return std::nullopt;
  }

  [[nodiscard]] Status check_interruption() const {
    if (bound_.progress == nullptr || !bound_.progress->interrupted()) return {};
    return fail(ErrorKind::kInterrupted, "interrupted");
  }

  /// Evicts, or marks that the snapshot stays. False: nothing more can be done.
  Result<bool> evict(std::size_t index) {
    const CachedSnapshot& snapshot = contents_->at(index);
    LAMINA_RETURN_IF_ERROR(check_interruption());
    if (!bucket_) bucket_.emplace(objects_, bound_.progress);
    const auto why_not = why_not_in_bucket(*bucket_, snapshot.name, snapshot.pause_id);
    if (!why_not) {
      if (why_not.error().kind == ErrorKind::kInterrupted) return std::unexpected(why_not.error());
      if (why_not.error().kind == ErrorKind::kCorrupt) {
        contents_->keep(index, kUnreadable);
        return true;
      }
      report_.notes.push_back(
          fmt::format("nothing more was evicted, because the bucket could not be asked: {}",
                      one_line(why_not.error())));
      return false;
    }
    if (!why_not->empty()) {
      contents_->keep(index, *why_not);
      return true;
    }
    const auto removed = remove(snapshot);
    if (!removed) {
      const bool is_gone = removed.error().kind == ErrorKind::kNotFound;
      const bool is_busy = removed.error().kind == ErrorKind::kBusy;
      if (is_gone) {
        contents_->remove(index);
      } else {
        contents_->keep(index, is_busy ? kBusy : kNotRemoved);
      }
      if (!is_gone && !is_busy) report_.notes.push_back(one_line(removed.error()));
      return true;
    }
    report_.evicted.push_back(snapshot.name);
    report_.evicted_bytes += *removed;
    contents_->remove(index);
    return true;
  }

  /// The bytes that this has freed.
  Result<std::uint64_t> remove(const CachedSnapshot& snapshot) {
    std::optional<os::LockedFd> use;  // until the files are removed
    const auto may_go = [&](int directory, const std::string& path,
                            const std::string& name) -> Status {
      auto claimed = store::claim_snapshot(directory, path);
      if (!claimed) return std::unexpected(claimed.error());
      if (!*claimed) return fail(ErrorKind::kBusy, "'{}' is about to be resumed", path);
      use = std::move(*claimed);
      if (operations::pause_id_of(directory, path) != snapshot.pause_id) {
        return fail(ErrorKind::kBusy, "'{}' is another snapshot now", path);
      }
      if (is_pinned(operations::summarize_pins(bound_.store, report_.notes), snapshot.pause_id,
                    name)) {
        return fail(ErrorKind::kBusy, "'{}' is used by a VM", path);
      }
      return {};
    };
    RemoveOptions options;
    options.snapshots = {bound_.store + "/" + snapshot.name};
    LAMINA_ASSIGN_OR_RETURN(RemoveReport report, operations::remove_snapshot_if(
                                                     store::StoreSource(store_), options, may_go));
    std::ranges::move(report.notes, std::back_inserter(report_.notes));
    if (const Error* error = report.first_error()) return std::unexpected(*error);
    return report.snapshots.front().freed_bytes;
  }

  object_store::ObjectStore& objects_;
  const CacheBound& bound_;
  std::optional<Bucket> bucket_;  ///< asked for the first time
  std::shared_ptr<const store::Store> store_;
  std::optional<CacheContents> contents_;
  std::uint64_t arriving_bytes_ = 0;
  CacheReport report_;
};

}  // namespace

Result<CacheReport> bound_cache(object_store::ObjectStore& bucket, const CacheBound& bound) {
  return contain("evict", [&] { return Eviction(bucket, bound).run(); });
}

void bound_cache_of_pull(object_store::ObjectStore& bucket, const PullOptions& options,
                         std::uint64_t incoming_bytes, PullReport& report) {
  if (!options.cache_bytes) return;
  auto done = bound_cache(bucket, {.store = options.store,
                                   .limit_bytes = *options.cache_bytes,
                                   .incoming_bytes = incoming_bytes,
                                   .keep = options.as.empty() ? options.name : options.as,
                                   .progress = options.progress});
  if (!done) {
    report.notes.push_back("the cache was not bounded: " + one_line(done.error()));
    return;
  }
  report.cache_bytes = done->cache_bytes;
  report.evicted_bytes += done->evicted_bytes;
  std::ranges::move(done->evicted, std::back_inserter(report.evicted));
  for (std::string& note : done->notes) {
    // Making room and looking afterwards may have the same to say.
    if (std::ranges::find(report.notes, note) == report.notes.end()) {
      report.notes.push_back(std::move(note));
    }
  }
}

}  // namespace lamina::remote
