#include "report/snapshot_json.h"

#include "base/block.h"

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

}  // namespace lamina::report
