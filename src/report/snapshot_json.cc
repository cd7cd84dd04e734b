#include "report/snapshot_json.h"

#include "base/block.h"
#include "report/json_reader.h"

namespace lamina::report {
namespace {

Json layers_json(const SnapshotInfo& info) {
  auto layers = Json::array();
  for (const LayerInfo& layer : info.layers) {
    Json shown = {{"build_id", layer.build_id.to_string()},
                  {"file", nullptr},
                  {"layout", nullptr},
                  {"checksums", nullptr},
                  {"live_blocks", layer.live_blocks},
                  {"dead_blocks", nullptr},
                  {"extents", layer.extents},
                  {"file_bytes", nullptr},
                  {"allocated_bytes", nullptr},
                  {"link_count", nullptr}};
    if (layer.has_checksums) shown["checksums"] = *layer.has_checksums;
    if (layer.file) {
      shown["file"] = layer.file->path;
      shown["layout"] = layer.file->layout;
      shown["dead_blocks"] = layer.file->dead_blocks;
      shown["file_bytes"] = layer.file->size_bytes;
      shown["allocated_bytes"] = layer.file->allocated_bytes;
      shown["link_count"] = layer.file->link_count;
    }
    layers.push_back(std::move(shown));
  }
  return layers;
}

Json extents_json(const SnapshotInfo& info) {
  auto extents = Json::array();
  for (const ExtentInfo& extent : info.extents) {
    Json shown = {{"offset", extent.offset_bytes},
                  {"length", extent.length_bytes},
                  {"build_id", nullptr},
                  {"storage_offset", extent.storage_offset_bytes}};
    if (extent.layer) shown["build_id"] = info.layers[*extent.layer].build_id.to_string();
    extents.push_back(std::move(shown));
  }
  return extents;
}

Result<RemovedSnapshot> removed_from_json(const Json& document, const std::string& where) {
  RemovedSnapshot removed;
  JsonReader reader(document, where);
  reader.text("snapshot", removed.snapshot);
  if (const Json* error = reader.find("error"); error != nullptr && !error->is_null()) {
    auto known = error_from_json(*error);
    if (!known) return std::unexpected(with_context(where + ".error", std::move(known.error())));
    removed.error = std::move(*known);
  }
  if (reader.ok()) reader.uuid_if_there("pause_id", removed.pause_id);
  reader.number("running_vms", removed.running_vms);
  reader.number("freed_bytes", removed.freed_bytes);
  reader.number("remaining_bytes", removed.remaining_bytes);
  return reader.end_with(std::move(removed));
}

}  // namespace

Json inspect_json(const SnapshotInfo& info, bool with_extents) {
  Json json = {{"message_type", "inspect"},
               {"path", info.path},
               {"header", header_format_name(info.header)},
               {"build_id", info.build_id.to_string()},
               {"base_build_id", info.base_build_id.to_string()},
               {"pause_id", nullptr},
               {"parent_pause_id", nullptr},
               {"created", nullptr},
               {"huge_pages", nullptr},
               {"generation", info.generation},
               {"memory_bytes", info.memory_bytes},
               {"block_bytes", kBlockBytes},
               {"zero_blocks", info.zero_blocks},
               {"vmstate_bytes", nullptr},
               {"extent_count", info.extents.size()},
               {"windows",
                {{"bytes", 2 << 20},
                 {"count", info.windows},
                 {"max_extents", info.max_extents_per_window},
                 {"mean_extents", info.mean_extents_per_window}}},
               {"layers", layers_json(info)}};
  if (info.pause_id) json["pause_id"] = info.pause_id->to_string();
  if (info.parent_pause_id) json["parent_pause_id"] = info.parent_pause_id->to_string();
  if (!info.created.empty()) json["created"] = info.created;
  if (!info.huge_pages.empty()) json["huge_pages"] = info.huge_pages;
  if (info.vmstate_bytes) json["vmstate_bytes"] = *info.vmstate_bytes;
  if (with_extents) json["extents"] = extents_json(info);
  return json;
}

Json fork_json(const ForkReport& report, double elapsed_ms) {
  return {{"message_type", "fork"},
          {"snapshot", report.fork},
          {"pause_id", report.pause_id.to_string()},
          {"generation", report.generation},
          {"linked_layers", report.linked_layers},
          {"copied_layers", report.copied_layers},
          {"linked_bytes", report.linked_bytes},
          {"copied_bytes", report.copied_bytes},
          {"notes", report.notes},
          {"elapsed_ms", elapsed_ms}};
}

Result<ForkReport> fork_from_json(const Json& document) {
  ForkReport report;
  JsonReader reader(document);
  reader.type("fork");
  reader.text("snapshot", report.fork);
  reader.uuid("pause_id", report.pause_id);
  reader.number("generation", report.generation);
  reader.number("linked_layers", report.linked_layers);
  reader.number("copied_layers", report.copied_layers);
  reader.number("linked_bytes", report.linked_bytes);
  reader.number("copied_bytes", report.copied_bytes);
  reader.texts("notes", report.notes);
  return reader.end_with(std::move(report));
}

Json removed_json(const RemovedSnapshot& removed, bool dry_run) {
  Json json = {{"snapshot", removed.snapshot},
               {"removed", !removed.error && !dry_run},
               {"error", nullptr},
               {"pause_id", nullptr},
               {"running_vms", removed.running_vms},
               {"freed_bytes", removed.freed_bytes},
               {"remaining_bytes", removed.remaining_bytes}};
  if (removed.error) json["error"] = error_json(*removed.error);
  if (removed.pause_id) json["pause_id"] = removed.pause_id->to_string();
  return json;
}

Json removal_json(const RemoveReport& report, bool dry_run) {
  auto list = Json::array();
  for (const RemovedSnapshot& removed : report.snapshots) {
    list.push_back(removed_json(removed, dry_run));
  }
  return {{"message_type", "rm"},
          {"dry_run", dry_run},
          {"snapshots", std::move(list)},
          {"notes", report.notes}};
}

Result<RemoveReport> removal_from_json(const Json& document) {
  RemoveReport report;
  JsonReader reader(document);
  reader.type("rm");
  if (const Json* list = reader.list("snapshots")) {
    for (const Json& item : *list) {
      const std::string where = fmt::format("snapshots[{}]", report.snapshots.size());
      LAMINA_ASSIGN_OR_RETURN(RemovedSnapshot removed, removed_from_json(item, where));
      report.snapshots.push_back(std::move(removed));
    }
  }
  reader.texts("notes", report.notes);
  return reader.end_with(std::move(report));
}

const char* outcome_name(CompactOutcome outcome) {
  switch (outcome) {
    case CompactOutcome::kNothing:
      return "nothing";
    case CompactOutcome::kPlanned:
      return "planned";
    case CompactOutcome::kMerged:
      return "merged";
    case CompactOutcome::kDropped:
      return "dropped";
  }
  return "nothing";
}

Json compacted_json(const CompactReport& report, double elapsed_ms) {
  return {{"snapshot", report.snapshot},
          {"outcome", outcome_name(report.outcome)},
          {"pause_id", report.pause_id.to_string()},
          {"layers_before", report.layers_before},
          {"layers_after", report.layers_after},
          {"merged_layers", report.merged_layers},
          {"read_bytes", report.read_bytes},
          {"written_bytes", report.written_bytes},
          {"cloned_bytes", report.cloned_bytes},
          {"freed_bytes", report.freed_bytes},
          {"duplicated_bytes", report.duplicated_bytes},
          {"attempts", report.attempts},
          {"next_pause_must_wait", report.next_pause_must_wait},
          {"notes", report.notes},
          {"elapsed_ms", elapsed_ms}};
}

Json compaction_json(const CompactReport& report, bool dry_run, double elapsed_ms) {
  Json document = {{"message_type", "compact"}, {"policy", report.policy}, {"dry_run", dry_run}};
  document.update(compacted_json(report, elapsed_ms));
  return document;
}

Result<CompactReport> compaction_from_json(const Json& document) {
  CompactReport report;
  JsonReader reader(document);
  reader.type("compact");
  reader.text("policy", report.policy);
  reader.text("snapshot", report.snapshot);
  reader.choice<CompactOutcome>("outcome", report.outcome,
                                {{"nothing", CompactOutcome::kNothing},
                                 {"planned", CompactOutcome::kPlanned},
                                 {"merged", CompactOutcome::kMerged},
                                 {"dropped", CompactOutcome::kDropped}});
  reader.uuid("pause_id", report.pause_id);
  reader.number("layers_before", report.layers_before);
  reader.number("layers_after", report.layers_after);
  reader.number("merged_layers", report.merged_layers);
  reader.number("read_bytes", report.read_bytes);
  reader.number("written_bytes", report.written_bytes);
  reader.number("cloned_bytes", report.cloned_bytes);
  reader.number("freed_bytes", report.freed_bytes);
  reader.number("duplicated_bytes", report.duplicated_bytes);
  reader.number("attempts", report.attempts);
  reader.flag("next_pause_must_wait", report.next_pause_must_wait);
  reader.texts("notes", report.notes);
  return reader.end_with(std::move(report));
}

}  // namespace lamina::report
