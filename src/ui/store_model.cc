#include "ui/store_model.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "schema/error_json.h"
#include "schema/report_json.h"

namespace lamina::ui {
namespace {

using schema::Json;

Json id_or_null(const std::optional<Uuid>& id) {
  return id ? Json(id->to_string()) : Json(nullptr);
}

Json row_of(const SnapshotListing& snapshot) {
  return Json::array({snapshot.name, id_or_null(snapshot.pause_id),
                      id_or_null(snapshot.parent_pause_id), snapshot.parent, snapshot.created,
                      snapshot.generation, snapshot.layers, snapshot.memory_bytes,
                      snapshot.own_bytes, snapshot.shared_bytes,
                      snapshot.dead_bytes ? Json(*snapshot.dead_bytes) : Json(nullptr),
                      snapshot.resumes, snapshot.running, snapshot.has_vmstate,
                      snapshot.error ? Json(snapshot.error->message) : Json(nullptr)});
}

}  // namespace

Json store_json(const StoreListing& listing) {
  Json rows = Json::array();
  for (const SnapshotListing& snapshot : listing.snapshots) rows.push_back(row_of(snapshot));
  // [depth, index of the row or -1, name of a parent that is not here].
  Json lineage = Json::array();
  for (const LineageRow& row : lineage_of(listing.snapshots)) {
    std::string missing = row.missing_name;
    if (missing.empty() && row.missing) missing = row.missing->to_string();
    lineage.push_back(Json::array(
        {row.depth, row.snapshot ? Json(*row.snapshot) : Json(-1), std::move(missing)}));
  }
  Json pins = Json::array();
  for (const PinListing& pin : listing.pins) {
    if (pin.running) {
      pins.push_back(Json{{"pid", pin.pid},
                          {"snapshot", pin.snapshot},
                          {"since", pin.since},
                          {"by_page_faults", pin.by_page_faults}});
    }
  }
  return Json{{"store", listing.path},
              {"totals", schema::to_json(listing.totals)},
              {"columns",
               {"name", "pause_id", "parent_pause_id", "parent", "created", "generation", "layers",
                "memory_bytes", "own_bytes", "shared_bytes", "dead_bytes", "resumes", "running_vms",
                "vmstate", "error"}},
              {"rows", std::move(rows)},
              {"lineage", std::move(lineage)},
              {"running", std::move(pins)},
              {"pending", listing.pending.size()},
              {"notes", listing.notes}};
}

Result<std::shared_ptr<const StoreCache::Entry>> StoreCache::get() {
  constexpr std::chrono::seconds kLeast{2};
  constexpr int kTimesItsCost = 4;
  const MutexLock lock(mutex_);
  const Clock::time_point start = Clock::now();
  if (entry_ && start < end_) return entry_;
  ListOptions options;
  options.dead_bytes = true;
  auto listing = list_store(store_, options);
  if (!listing) return std::unexpected(std::move(listing.error()));
  auto entry = std::make_shared<Entry>();
  entry->listing = std::move(*listing);
  entry->json = schema::json_text(store_json(entry->listing), -1);
  entry_ = std::move(entry);
  end_ = Clock::now() + std::max<Clock::duration>(kLeast, kTimesItsCost * (Clock::now() - start));
  return entry_;
}

void StoreCache::forget() {
  const MutexLock lock(mutex_);
  entry_.reset();
}

}  // namespace lamina::ui
