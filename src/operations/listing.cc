#include "lamina/listing.h"

#include <fcntl.h>

#include <algorithm>
#include <map>

#include "base/contain.h"
#include "base/error.h"
#include "operations/disk_use.h"
#include "operations/pin_summary.h"
#include "operations/snapshot_summary.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/areas.h"
#include "store/arrival.h"
#include "store/name.h"
#include "store/pending_area.h"
#include "store/resume_count.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_facts.h"
#include "store/store.h"
#include "store/store_identity.h"

namespace lamina {
namespace {

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

PendingKind kind_of(store::JournalFacts::Kind kind) {
  switch (kind) {
    case store::JournalFacts::Kind::kPause:
      return PendingKind::kPause;
    case store::JournalFacts::Kind::kAdoption:
      return PendingKind::kIngest;
    case store::JournalFacts::Kind::kOther:
      break;
  }
  return PendingKind::kOther;
}

class Listing {
 public:
  Listing(std::string path, const ListOptions& options)
      : path_(std::move(path)), options_(options) {
    listing_.path = path_;
  }

  Result<StoreListing> run() {
    auto directory = os::open_directory(AT_FDCWD, path_, path_);
    if (!directory) {
      if (directory.error().kind != ErrorKind::kNotFound) return std::unexpected(directory.error());
      if (!os::name_exists(AT_FDCWD, path_)) {
        return fail(ErrorKind::kNotFound, "store '{}' does not exist", path_);
      }
      return with_remedy(fail(ErrorKind::kNotFound, "store '{}' is not a directory", path_),
                         "name the directory that holds the snapshots");
    }
    directory_ = std::move(*directory);
    LAMINA_ASSIGN_OR_RETURN(here_, store::identity_of(directory_.get(), path_));
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            os::list_directory(directory_.get(), path_));
    LAMINA_RETURN_IF_ERROR(check_is_store(names));
    // In the order of StoreTotals: a file of a snapshot counts as the snapshot's.
    list_snapshots(names);
    if (names.empty()) {
      return fail(ErrorKind::kNotFound, "'{}' is empty: no snapshot was ever stored in it", path_);
    }
    if (listing_.snapshots.empty() && !has_area(names)) {
      return with_remedy(
          fail(ErrorKind::kNotFound, "'{}' is not a store: there is no snapshot in it", path_),
          "name the directory that holds the snapshots");
    }
    list_pins();
    list_pending();
    list_temporary();
    list_maps();
    list_arrivals();
    return std::move(listing_);
  }

 private:
  void describe_journal(int area, const std::string& name, const std::string& path,
                        PendingListing& pending) const {
    const auto facts = store::read_journal_facts(area, name, path);
    if (!facts) return;
    pending.kind = kind_of(facts->kind);
    if (facts->belongs_to) pending.foreign = store::why_foreign(*facts->belongs_to, here_);
  }

  static bool has_area(const std::vector<std::string>& names) {
    return std::any_of(names.begin(), names.end(), store::is_area_name);
  }

  [[nodiscard]] Status check_is_store(const std::vector<std::string>& names) const {
    const bool is_snapshot =
        std::find(names.begin(), names.end(), store::kHeaderName) != names.end();
    if (!is_snapshot || has_area(names)) return {};
    return with_remedy(
        fail(ErrorKind::kNotFound, "'{}' is a snapshot, not a store", path_),
        "name the directory that holds it, or for the snapshot itself run: lamina inspect {}",
        path_);
  }

  void list_snapshots(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      if (store::is_area_name(name)) continue;
      auto snapshot = operations::summarize_snapshot(directory_.get(), path_, name,
                                                     options_.dead_bytes, listing_.notes);
      if (!snapshot) continue;
      if (snapshot->pause_id) {
        snapshot->resumes = store::resume_count(directory_.get(), here_, *snapshot->pause_id);
      }
      listing_.totals.snapshot_bytes += tally_.add(snapshot->files);
      listing_.snapshots.push_back(std::move(*snapshot));
    }
  }

  void list_pins() {
    for (operations::PinSummary& pin : operations::summarize_pins(path_, listing_.notes)) {
      listing_.totals.pin_bytes += tally_.add(pin.files);
      for (SnapshotListing& snapshot : listing_.snapshots) {
        if (operations::is_used_by(pin.listing, snapshot.pause_id, snapshot.name))
          ++snapshot.running;
      }
      listing_.pins.push_back(std::move(pin.listing));
    }
  }

  /// Opens an area. It may be missing; if it cannot be read, adds a note.
  std::optional<os::Fd> open_area(const char* name) {
    auto area = os::open_directory(directory_.get(), name, area_path(name));
    if (area) return std::move(*area);
    if (area.error().kind != ErrorKind::kNotFound) listing_.notes.push_back(one_line(area.error()));
    return std::nullopt;
  }

  std::vector<std::string> names_of(const os::Fd& area, const char* name) {
    auto names = os::list_directory(area.get(), area_path(name));
    if (names) return std::move(*names);
    listing_.notes.push_back(one_line(names.error()));
    return {};
  }

  [[nodiscard]] std::string area_path(const char* name) const { return path_ + "/" + name; }

  void list_pending() {
    const auto area = open_area(store::kPendingArea);
    if (!area) return;
    // A journal and its directory are one entry; either may be missing.
    std::map<Uuid, PendingListing> found;
    for (const std::string& name : names_of(*area, store::kPendingArea)) {
      const bool is_journal = name.ends_with(store::kJournalSuffix);
      const auto id = Uuid::parse(
          is_journal ? std::string_view(name).substr(0, name.size() - store::kJournalSuffix.size())
                     : std::string_view(name));
      const std::string path = area_path(store::kPendingArea) + "/" + name;
      const auto facts = os::facts_of_name(area->get(), name, path);
      if (!id || !facts) continue;
      PendingListing& pending = found[*id];
      pending.id = *id;
      if (is_journal || pending.since.empty()) {
        pending.since = store::timestamp_of(facts->modified_ns / kNanosecondsPerSecond);
      }
      if (is_journal) {
        describe_journal(area->get(), name, path, pending);
      } else {
        pending.allocated_bytes = add_entry(*area, name, path, *facts);
      }
    }
    for (auto& [id, pending] : found) {
      listing_.totals.pending_bytes += pending.allocated_bytes;
      listing_.pending.push_back(std::move(pending));
    }
  }

  void list_arrivals() {
    const auto ids = store::list_arrivals(path_);
    if (!ids) return listing_.notes.push_back(one_line(ids.error()));
    for (const Uuid& id : *ids) {
      const auto arrival = store::open_arrival(path_, id);
      if (arrival) {
        listing_.notes.push_back(store::describe_arrival(*arrival));
      } else if (arrival.error().kind != ErrorKind::kNotFound) {
        listing_.notes.push_back(one_line(arrival.error()));
      }
    }
  }

  void list_temporary() {
    const auto area = open_area(store::kTemporaryArea);
    if (!area) return;
    listing_.totals.temporary_bytes +=
        tally_.add(operations::files_below(area->get(), area_path(store::kTemporaryArea)).files);
  }

  void list_maps() {
    const auto area = open_area(store::kMapsArea);
    if (!area) return;
    for (const std::string& name : names_of(*area, store::kMapsArea)) {
      const std::string path = area_path(store::kMapsArea) + "/" + name;
      const auto facts = os::facts_of_name(area->get(), name, path);
      if (!facts) continue;
      const std::uint64_t bytes = add_entry(*area, name, path, *facts);
      listing_.totals.map_bytes += bytes;
      const auto id = Uuid::parse(name);
      if (!id) continue;
      const bool used =
          std::any_of(listing_.pins.begin(), listing_.pins.end(),
                      [&](const PinListing& pin) { return pin.running && pin.map == *id; });
      listing_.maps.push_back({*id, bytes, used});
    }
  }

  /// Allocated bytes of a file, or of the files below a directory, as far as not counted before.
  std::uint64_t add_entry(const os::Fd& area, const std::string& name, const std::string& path,
                          const os::FileFacts& facts) {
    if (!facts.is_directory) {
      return tally_.add({{facts.device, facts.inode, facts.link_count, 1, facts.allocated_bytes}});
    }
    const auto directory = os::open_directory(area.get(), name, path);
    return directory ? tally_.add(operations::files_below(directory->get(), path).files) : 0;
  }

  std::string path_;
  ListOptions options_;
  os::Fd directory_;
  store::StoreIdentity here_;
  StoreListing listing_;
  operations::FileTally tally_;
};

}  // namespace

Result<StoreListing> list_store(const std::string& path, const ListOptions& options) {
  return contain("list the store", [&]() -> Result<StoreListing> {
    std::string trimmed = path;
    while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
    return Listing(trimmed, options).run();
  });
}

Result<std::vector<std::string>> snapshots_of(const std::string& store) {
  return contain("list the store", [&]() -> Result<std::vector<std::string>> {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, store, store));
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            os::list_directory(directory.get(), store));
    std::vector<std::string> snapshots;
    for (const std::string& name : names) {
      const std::string path = store + "/" + name;
      if (!store::parse_snapshot_path(path) || os::is_symbolic_link(directory.get(), name))
        continue;
      // List a snapshot whose header cannot be read: opening it reports the error.
      const auto header = os::facts_of_name(directory.get(), name + "/" + store::kHeaderName, path);
      if (header || header.error().kind != ErrorKind::kNotFound) snapshots.push_back(path);
    }
    return snapshots;
  });
}

std::uint64_t freed_by_removing(const StoreListing& listing,
                                const std::vector<std::size_t>& indices) {
  operations::RemovalTally tally;
  std::uint64_t freed = 0;
  for (const std::size_t index : indices) {
    freed += tally.remove(listing.snapshots[index].files).freed;
  }
  return freed;
}

}  // namespace lamina
