#include "report/store_json.h"

namespace lamina::report {
namespace {

Json uuid_json(const std::optional<Uuid>& id) { return id ? Json(id->to_string()) : Json(nullptr); }

Json text_json(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json snapshot_json(const SnapshotListing& snapshot) {
  Json json = {{"name", snapshot.name},
               {"error", nullptr},
               {"pause_id", uuid_json(snapshot.pause_id)},
               {"parent_pause_id", uuid_json(snapshot.parent_pause_id)},
               {"parent", text_json(snapshot.parent)},
               {"created", text_json(snapshot.created)},
               {"generation", snapshot.generation},
               {"layers", snapshot.layers},
               {"memory_bytes", snapshot.memory_bytes},
               {"header", nullptr},
               {"vmstate", snapshot.has_vmstate},
               {"own_bytes", snapshot.own_bytes},
               {"shared_bytes", snapshot.shared_bytes},
               {"resumes", snapshot.resumes},
               {"running_vms", snapshot.running}};
  if (snapshot.error) json["error"] = error_json(*snapshot.error);
  if (snapshot.header) json["header"] = header_format_name(*snapshot.header);
  return json;
}

std::string_view pending_name(PendingKind kind) {
  switch (kind) {
    case PendingKind::kPause:
      return "pause";
    case PendingKind::kIngest:
      return "ingest";
    case PendingKind::kOther:
      return "other";
  }
  return "other";
}

Json row_json(const LineageRow& row, const StoreListing& listing) {
  Json json = {{"depth", row.depth},
               {"name", nullptr},
               {"missing_pause_id", uuid_json(row.missing)},
               {"missing_name", text_json(row.missing_name)},
               {"in_cycle", row.in_cycle}};
  if (row.snapshot) json["name"] = listing.snapshots[*row.snapshot].name;
  return json;
}

template <typename Items, typename ToJson>
Json list_json(const Items& items, const ToJson& to_json) {
  auto list = Json::array();
  for (const auto& item : items) list.push_back(to_json(item));
  return list;
}

}  // namespace

Json pin_json(const PinListing& pin) {
  return {{"name", pin.name},
          {"error", pin.error ? error_json(*pin.error) : Json(nullptr)},
          {"pid", pin.pid},
          {"running", pin.running},
          {"foreign", text_json(pin.foreign)},
          {"snapshot", text_json(pin.snapshot)},
          {"base_pause_id", uuid_json(pin.base_pause_id)},
          {"since", text_json(pin.since)},
          {"by_page_faults", pin.by_page_faults},
          {"map", uuid_json(pin.map)}};
}

Json totals_json(const StoreTotals& totals) {
  return {{"allocated_bytes", totals.sum()},
          {"snapshot_bytes", totals.snapshot_bytes},
          {"pin_bytes", totals.pin_bytes},
          {"pending_bytes", totals.pending_bytes},
          {"temporary_bytes", totals.temporary_bytes},
          {"map_bytes", totals.map_bytes}};
}

Json listing_json(const StoreListing& listing, bool with_tree) {
  Json json = {{"message_type", "ls"},
               {"store", listing.path},
               {"snapshots", list_json(listing.snapshots, snapshot_json)},
               {"pins", list_json(listing.pins, pin_json)},
               {"pending", list_json(listing.pending,
                                     [](const PendingListing& pending) -> Json {
                                       return {{"id", pending.id.to_string()},
                                               {"kind", pending_name(pending.kind)},
                                               {"allocated_bytes", pending.allocated_bytes},
                                               {"since", text_json(pending.since)},
                                               {"foreign", text_json(pending.foreign)}};
                                     })},
               {"maps", list_json(listing.maps,
                                  [](const MapListing& map) -> Json {
                                    return {{"pause_id", map.pause_id.to_string()},
                                            {"allocated_bytes", map.allocated_bytes},
                                            {"used", map.used}};
                                  })},
               {"totals", totals_json(listing.totals)},
               {"notes", listing.notes}};
  if (with_tree) {
    json["tree"] = list_json(lineage_of(listing.snapshots),
                             [&](const LineageRow& row) { return row_json(row, listing); });
  }
  return json;
}

}  // namespace lamina::report
