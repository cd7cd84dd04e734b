#include "capi/reports.h"

#include <cstring>
#include <optional>
#include <span>

#include "capi/enums.h"

namespace lamina::capi {
namespace {

lamina_bool flag(bool value) { return value ? 1 : 0; }

lamina_uuid id(const Uuid& uuid) {
  lamina_uuid copied{};
  static_assert(sizeof copied.bytes == sizeof uuid.bytes);
  std::memcpy(copied.bytes, uuid.bytes.data(), sizeof copied.bytes);
  return copied;
}
lamina_uuid id(const std::optional<Uuid>& uuid) { return uuid ? id(*uuid) : lamina_uuid{}; }

const lamina_error* error_or_null(Arena& arena, const std::optional<Error>& error) {
  if (!error) return nullptr;
  auto* described = arena.make<lamina_error>();
  describe(arena, *error, *described);
  return described;
}

/// Pointers to the structs of `items`.
template <typename Described, typename Item>
const Described* const* pointers(Arena& arena, const std::vector<Item>& items) {
  auto** made = arena.make<const Described*>(items.size());
  auto* structs = arena.make<Described>(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    structs[i].struct_size = sizeof(Described);
    describe(arena, items[i], structs[i]);
    made[i] = &structs[i];
  }
  return made;
}

template <typename Described>
void set_notes(Arena& arena, const std::vector<std::string>& notes, Described& described) {
  described.notes = arena.lines(notes);
  described.note_count = notes.size();
}

const lamina_extent* extents_of(Arena& arena, const std::vector<ExtentInfo>& extents) {
  auto* made = arena.make<lamina_extent>(extents.size());
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const auto& [offset_bytes, length_bytes, layer, storage_offset_bytes] = extents[i];
    made[i] = {.offset_bytes = offset_bytes,
               .length_bytes = length_bytes,
               .storage_offset_bytes = storage_offset_bytes,
               .layer = layer.value_or(LAMINA_NO_LAYER),
               .reserved = 0};
  }
  return made;
}

const lamina_file_use* files_of(Arena& arena, const std::vector<FileUse>& files) {
  auto* made = arena.make<lamina_file_use>(files.size());
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto& [device, inode, link_count, links_here, allocated_bytes] = files[i];
    made[i] = {device, inode, link_count, links_here, allocated_bytes};
  }
  return made;
}

/// The struct of `item`; null if it is not there.
template <typename Described, typename Item>
const Described* pointer(Arena& arena, const Item* item) {
  if (item == nullptr) return nullptr;
  auto* described = arena.make<Described>();
  described->struct_size = sizeof(Described);
  describe(arena, *item, *described);
  return described;
}

const lamina_pause_record* record_of(Arena& arena, const std::optional<PauseRecord>& pause) {
  return pointer<lamina_pause_record>(arena, pause ? &*pause : nullptr);
}

}  // namespace

void describe(Arena& arena, const std::vector<std::string>& lines, lamina_lines& d) {
  d.items = arena.lines(lines);
  d.count = lines.size();
}

void describe(Arena& /*arena*/, const std::string& text, lamina_text& d) {
  d.text = text.c_str();
  d.length = text.size();
}

void describe(Arena& arena, const IngestReport& report, lamina_ingest_report& d) {
  const auto& [snapshot, build_id, pause_id, kind, layout, generation, memory_bytes, stored_blocks,
               zero_blocks, unchanged_blocks, layer_bytes, layer_allocated_bytes, cloned_bytes,
               notes] = report;
  d.snapshot = snapshot.c_str();
  d.build_id = id(build_id);
  d.pause_id = id(pause_id);
  d.kind = number_of(kind);
  d.layout = number_of(layout);
  d.generation = generation;
  d.memory_bytes = memory_bytes;
  d.stored_blocks = stored_blocks;
  d.zero_blocks = zero_blocks;
  d.unchanged_blocks = unchanged_blocks;
  d.layer_bytes = layer_bytes;
  d.layer_allocated_bytes = layer_allocated_bytes;
  d.cloned_bytes = cloned_bytes;
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const MergeReport& report, lamina_merge_report& d) {
  const auto& [snapshot, merged, build_id, pause_id, generation, layers_before, layers_after,
               merged_blocks, dropped_blocks, cloned_bytes, copied_bytes, freed_bytes,
               duplicated_bytes, notes] = report;
  d.snapshot = snapshot.c_str();
  d.build_id = id(build_id);
  d.pause_id = id(pause_id);
  d.merged = flag(merged);
  d.layers_before = layers_before;
  d.layers_after = layers_after;
  d.generation = generation;
  d.merged_blocks = merged_blocks;
  d.dropped_blocks = dropped_blocks;
  d.cloned_bytes = cloned_bytes;
  d.copied_bytes = copied_bytes;
  d.freed_bytes = freed_bytes;
  d.duplicated_bytes = duplicated_bytes;
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const CompactReport& report, lamina_compact_report& d) {
  const auto& [snapshot, outcome, policy, pause_id, layers_before, layers_after, merged_layers,
               read_bytes, written_bytes, cloned_bytes, freed_bytes, duplicated_bytes, attempts,
               next_pause_must_wait, notes] = report;
  d.snapshot = snapshot.c_str();
  d.policy = policy.c_str();
  d.pause_id = id(pause_id);
  d.outcome = number_of(outcome);
  d.layers_before = layers_before;
  d.layers_after = layers_after;
  d.merged_layers = merged_layers;
  d.read_bytes = read_bytes;
  d.written_bytes = written_bytes;
  d.cloned_bytes = cloned_bytes;
  d.freed_bytes = freed_bytes;
  d.duplicated_bytes = duplicated_bytes;
  d.attempts = attempts;
  d.next_pause_must_wait = flag(next_pause_must_wait);
  set_notes(arena, notes, d);
}

void describe(Arena& /*arena*/, const MaterializeReport& report, lamina_materialize_report& d) {
  const auto& [memory_bytes, data_bytes, cloned_bytes] = report;
  d.memory_bytes = memory_bytes;
  d.data_bytes = data_bytes;
  d.cloned_bytes = cloned_bytes;
}

void describe(Arena& arena, const VerifyReport& report, lamina_verify_report& d) {
  const auto& [checked_blocks, unchecked_blocks, corrupt_blocks, corrupt_live_blocks,
               vmstate_corrupt, compared_blocks, different_blocks, problems] = report;
  d.is_intact = flag(report.is_intact());
  d.is_equal = flag(report.is_equal());
  d.checked_blocks = checked_blocks;
  d.unchecked_blocks = unchecked_blocks;
  d.corrupt_blocks = corrupt_blocks;
  d.corrupt_live_blocks = corrupt_live_blocks;
  d.compared_blocks = compared_blocks;
  d.different_blocks = different_blocks;
  d.vmstate_corrupt = flag(vmstate_corrupt);
  d.problems = arena.lines(problems);
  d.problem_count = problems.size();
}

void describe(Arena& /*arena*/, const LayerInfo& layer, lamina_layer& d) {
  const auto& [build_id, has_checksums, live_blocks, extents, file] = layer;
  d.build_id = id(build_id);
  d.has_checksums = LAMINA_CHECKSUMS_UNKNOWN;
  if (has_checksums) d.has_checksums = *has_checksums ? LAMINA_CHECKSUMS_YES : LAMINA_CHECKSUMS_NO;
  d.live_blocks = live_blocks;
  d.extents = extents;
  d.has_file = flag(file.has_value());
  if (!file) return;
  const auto& [path, layout, dead_blocks, size_bytes, allocated_bytes, link_count] = *file;
  d.path = path.c_str();
  d.layout = layout.c_str();
  d.dead_blocks = dead_blocks;
  d.size_bytes = size_bytes;
  d.allocated_bytes = allocated_bytes;
  d.link_count = link_count;
}

void describe(Arena& /*arena*/, const PauseRecord& record, lamina_pause_record& d) {
  const auto& [is_diff, reason, phases] = record;
  d.is_diff = flag(is_diff);
  d.reason = reason.c_str();
  d.has_phases = flag(phases.has_value());
  if (!phases) return;
  const auto& [prepare_ms, pause_ms, create_ms, journal_ms, hook_ms, resume_ms, frozen_ms] =
      *phases;
  d.prepare_ms = prepare_ms;
  d.pause_ms = pause_ms;
  d.create_ms = create_ms;
  d.journal_ms = journal_ms;
  d.hook_ms = hook_ms;
  d.resume_ms = resume_ms;
  d.frozen_ms = frozen_ms;
}

void describe(Arena& /*arena*/, const ResumeCoverage& coverage, lamina_resume_coverage& d) {
  const auto& [time, was_replayed, used_blocks, known_blocks] = coverage;
  d.time = time.c_str();
  d.was_replayed = flag(was_replayed);
  d.used_blocks = used_blocks;
  d.known_blocks = known_blocks;
}

void describe(Arena& arena, const SnapshotInfo& info, lamina_snapshot_info& d) {
  const auto& [path, header, build_id, base_build_id, pause_id, parent_pause_id, created,
               huge_pages, generation, memory_bytes, zero_blocks, vmstate_bytes, windows,
               max_extents_per_window, mean_extents_per_window, working_set_blocks, last_resumes,
               once, is_consumed, pause, layers, extents] = info;
  d.path = path.c_str();
  d.header = number_of(header);
  d.build_id = id(build_id);
  d.base_build_id = id(base_build_id);
  d.pause_id = id(pause_id);
  d.parent_pause_id = id(parent_pause_id);
  d.created = created.c_str();
  d.huge_pages = huge_pages.c_str();
  d.generation = generation;
  d.memory_bytes = memory_bytes;
  d.zero_blocks = zero_blocks;
  d.vmstate_bytes = vmstate_bytes.value_or(0);
  d.has_vmstate = flag(vmstate_bytes.has_value());
  d.windows = windows;
  d.max_extents_per_window = max_extents_per_window;
  d.mean_extents_per_window = mean_extents_per_window;
  d.layers = pointers<lamina_layer>(arena, layers);
  d.layer_count = layers.size();
  d.extents = extents_of(arena, extents);
  d.extent_count = extents.size();
  d.pause = record_of(arena, pause);
  d.working_set_blocks = working_set_blocks;
  d.last_resumes = pointers<lamina_resume_coverage>(arena, last_resumes);
  d.last_resume_count = last_resumes.size();
  d.once = flag(once);
  d.is_consumed = flag(is_consumed);
}

void describe(Arena& arena, const SnapshotListing& listing, lamina_snapshot_listing& d) {
  const auto& [name, error, pause_id, parent_pause_id, ancestors, parent, created, generation,
               layers, memory_bytes, header, has_vmstate, own_bytes, shared_bytes, dead_bytes,
               files, running, resumes, pause] = listing;
  d.name = name.c_str();
  d.error = error_or_null(arena, error);
  d.pause_id = id(pause_id);
  d.parent_pause_id = id(parent_pause_id);
  d.parent = parent.c_str();
  d.created = created.c_str();
  d.generation = generation;
  d.layers = layers;
  d.memory_bytes = memory_bytes;
  d.header = header ? number_of(*header) : LAMINA_HEADER_UNKNOWN;
  d.has_vmstate = flag(has_vmstate);
  d.own_bytes = own_bytes;
  d.shared_bytes = shared_bytes;
  d.dead_bytes = dead_bytes.value_or(0);
  d.has_dead_bytes = flag(dead_bytes.has_value());
  d.running = running;
  d.resumes = resumes;
  d.files = files_of(arena, files);
  d.file_count = files.size();
  auto* ids = arena.make<lamina_uuid>(ancestors.size());
  for (std::size_t i = 0; i < ancestors.size(); ++i) ids[i] = id(ancestors[i]);
  d.ancestors = ids;
  d.ancestor_count = ancestors.size();
  d.pause = record_of(arena, pause);
}

void describe(Arena& arena, const PinListing& listing, lamina_pin_listing& d) {
  const auto& [name, error, pid, running, foreign, snapshot, base_pause_id, since, by_page_faults,
               map] = listing;
  d.name = name.c_str();
  d.error = error_or_null(arena, error);
  d.pid = pid;
  d.foreign = foreign.c_str();
  d.snapshot = snapshot.c_str();
  d.base_pause_id = id(base_pause_id);
  d.map = id(map);
  d.since = since.c_str();
  d.running = flag(running);
  d.by_page_faults = flag(by_page_faults);
}

void describe(Arena& /*arena*/, const PendingListing& listing, lamina_pending_listing& d) {
  const auto& [pause_id, kind, allocated_bytes, since, foreign] = listing;
  d.id = id(pause_id);
  d.kind = number_of(kind);
  d.allocated_bytes = allocated_bytes;
  d.since = since.c_str();
  d.foreign = foreign.c_str();
}

void describe(Arena& /*arena*/, const MapListing& listing, lamina_map_listing& d) {
  const auto& [pause_id, allocated_bytes, used] = listing;
  d.pause_id = id(pause_id);
  d.allocated_bytes = allocated_bytes;
  d.used = flag(used);
}

void describe(Arena& arena, const StoreListing& listing, lamina_listing& d) {
  const auto& [path, snapshots, pins, pending, maps, totals, notes] = listing;
  const auto& [snapshot_bytes, pin_bytes, pending_bytes, temporary_bytes, map_bytes] = totals;
  d.path = path.c_str();
  d.snapshots = pointers<lamina_snapshot_listing>(arena, snapshots);
  d.snapshot_count = snapshots.size();
  d.pins = pointers<lamina_pin_listing>(arena, pins);
  d.pin_count = pins.size();
  d.pending = pointers<lamina_pending_listing>(arena, pending);
  d.pending_count = pending.size();
  d.maps = pointers<lamina_map_listing>(arena, maps);
  d.map_count = maps.size();
  d.snapshot_bytes = snapshot_bytes;
  d.pin_bytes = pin_bytes;
  d.pending_bytes = pending_bytes;
  d.temporary_bytes = temporary_bytes;
  d.map_bytes = map_bytes;
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const RepairReport& report, lamina_repair_report& d) {
  const auto& [header_rebuilt, facts_rebuilt, notes] = report;
  d.header_rebuilt = flag(header_rebuilt);
  d.facts_rebuilt = flag(facts_rebuilt);
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const ForkReport& report, lamina_fork_report& d) {
  const auto& [fork, pause_id, generation, linked_layers, copied_layers, linked_bytes, copied_bytes,
               notes] = report;
  d.fork = fork.c_str();
  d.pause_id = id(pause_id);
  d.generation = generation;
  d.linked_layers = linked_layers;
  d.copied_layers = copied_layers;
  d.linked_bytes = linked_bytes;
  d.copied_bytes = copied_bytes;
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const RemovedSnapshot& removed, lamina_removed_snapshot& d) {
  const auto& [snapshot, error, pause_id, running_vms, freed_bytes, remaining_bytes] = removed;
  d.snapshot = snapshot.c_str();
  d.error = error_or_null(arena, error);
  d.pause_id = id(pause_id);
  d.running_vms = running_vms;
  d.freed_bytes = freed_bytes;
  d.remaining_bytes = remaining_bytes;
}

void describe(Arena& arena, const RemoveReport& report, lamina_remove_report& d) {
  const auto& [snapshots, notes] = report;
  d.snapshots = pointers<lamina_removed_snapshot>(arena, snapshots);
  d.snapshot_count = snapshots.size();
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const PauseReport& report, lamina_pause_report& d) {
  const auto& [snapshot, pause_id, parent_pause_id, is_diff, reason, place, place_reason,
               generation, memory_bytes, stored_bytes, unchanged_bytes, phases, notes] = report;
  const auto& [prepare_ms, pause_ms, create_ms, journal_ms, hook_ms, resume_ms, frozen_ms,
               complete_ms, publish_ms, durable_ms] = phases;
  d.snapshot = snapshot.c_str();
  d.pause_id = id(pause_id);
  d.parent_pause_id = id(parent_pause_id);
  d.reason = reason.c_str();
  d.generation = generation;
  d.memory_bytes = memory_bytes;
  d.stored_bytes = stored_bytes;
  d.unchanged_bytes = unchanged_bytes;
  d.is_diff = flag(is_diff);
  d.prepare_ms = prepare_ms;
  d.pause_ms = pause_ms;
  d.create_ms = create_ms;
  d.journal_ms = journal_ms;
  d.hook_ms = hook_ms;
  d.resume_ms = resume_ms;
  d.frozen_ms = frozen_ms;
  d.complete_ms = complete_ms;
  d.publish_ms = publish_ms;
  d.durable_ms = durable_ms;
  d.place = number_of(place);
  d.place_reason = place_reason.c_str();
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const ResumeReport& report, lamina_resume_report& d) {
  const auto& [snapshot, pause_id, pid, mode, reason, started_page_server, resume_id, clone_number,
               generation_device, pin_ms, prepare_ms, load_ms, resume_ms, notes] = report;
  d.snapshot = snapshot.c_str();
  d.pause_id = id(pause_id);
  d.pid = pid;
  d.mode = number_of(mode);
  d.reason = reason.c_str();
  d.pin_ms = pin_ms;
  d.prepare_ms = prepare_ms;
  d.load_ms = load_ms;
  d.resume_ms = resume_ms;
  d.started_page_server = flag(started_page_server);
  d.resume_id = id(resume_id);
  d.clone_number = clone_number;
  d.generation_device = generation_device.c_str();
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const LiveClone& clone, lamina_live_clone& d) {
  const auto& [api_socket, resumed, ready_ms] = clone;
  d.api_socket = api_socket.c_str();
  d.error = pointer<lamina_error>(arena, resumed ? nullptr : &resumed.error());
  d.resumed = pointer<lamina_resume_report>(arena, resumed ? &*resumed : nullptr);
  d.ready_ms = ready_ms;
}

void describe(Arena& arena, const LiveForkReport& report, lamina_live_fork_report& d) {
  const auto& [pause, clones, readable_ms, clones_ms, durable_ms, notes] = report;
  d.pause = pointer<lamina_pause_report>(arena, &pause);
  d.clones = pointers<lamina_live_clone>(arena, clones);
  d.clone_count = clones.size();
  d.readable_ms = readable_ms;
  d.clones_ms = clones_ms;
  d.durable_ms = durable_ms;
  set_notes(arena, notes, d);
}

void describe(Arena& /*arena*/, const ArrivalReport& arrival, lamina_arrival& d) {
  const auto& [arrival_id, name, bucket, bytes, frames, frames_here, vms, has_fetcher,
               is_being_resumed, is_lost, is_removed] = arrival;
  d.id = id(arrival_id);
  d.name = name.c_str();
  d.bucket = bucket.c_str();
  d.bytes = bytes;
  d.frames = frames;
  d.frames_here = frames_here;
  d.vms = vms;
  d.has_fetcher = flag(has_fetcher);
  d.is_being_resumed = flag(is_being_resumed);
  d.is_lost = flag(is_lost);
  d.is_removed = flag(is_removed);
}

void describe(Arena& arena, const RecoverReport& report, lamina_recover_report& d) {
  const auto& [completed, discarded, queued, released_pins, removed_maps, resumed_vms, foreign,
               adopted, removed_arrivals, arrivals, notes] = report;
  d.completed = completed;
  d.discarded = discarded;
  d.queued = queued;
  d.released_pins = released_pins;
  d.removed_maps = removed_maps;
  d.resumed_vms = resumed_vms;
  d.foreign = foreign;
  d.adopted = adopted;
  d.removed_arrivals = removed_arrivals;
  d.arrivals = pointers<lamina_arrival>(arena, arrivals);
  d.arrival_count = arrivals.size();
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const PackReport& report, lamina_pack_report& d) {
  const auto& [pause_id, memory_bytes, layers, files, data_bytes, packed_bytes, is_encrypted,
               notes] = report;
  d.pause_id = id(pause_id);
  d.memory_bytes = memory_bytes;
  d.data_bytes = data_bytes;
  d.packed_bytes = packed_bytes;
  d.layers = layers;
  d.files = files;
  d.is_encrypted = flag(is_encrypted);
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const UnpackReport& report, lamina_unpack_report& d) {
  const auto& [snapshot, pause_id, generation, memory_bytes, layers, files, data_bytes,
               packed_bytes, notes] = report;
  d.snapshot = snapshot.c_str();
  d.pause_id = id(pause_id);
  d.generation = generation;
  d.memory_bytes = memory_bytes;
  d.data_bytes = data_bytes;
  d.packed_bytes = packed_bytes;
  d.layers = layers;
  d.files = files;
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const PushReport& report, lamina_push_report& d) {
  const auto& [snapshot, name, number, pause_id, is_conflict, is_already_there, uploaded_objects,
               reused_objects, data_bytes, uploaded_bytes, reused_bytes, notes] = report;
  d.snapshot = snapshot.c_str();
  d.name = name.c_str();
  d.number = number;
  d.pause_id = id(pause_id);
  d.is_conflict = flag(is_conflict);
  d.is_already_there = flag(is_already_there);
  d.uploaded_objects = uploaded_objects;
  d.reused_objects = reused_objects;
  d.data_bytes = data_bytes;
  d.uploaded_bytes = uploaded_bytes;
  d.reused_bytes = reused_bytes;
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const PullReport& report, lamina_pull_report& d) {
  const auto& [snapshot, name, number, pause_id, generation, memory_bytes, linked_layers,
               fetched_layers, data_bytes, fetched_bytes, notes, cache_bytes, evicted,
               evicted_bytes] = report;
  d.snapshot = snapshot.c_str();
  d.name = name.c_str();
  d.number = number;
  d.pause_id = id(pause_id);
  d.generation = generation;
  d.memory_bytes = memory_bytes;
  d.linked_layers = linked_layers;
  d.fetched_layers = fetched_layers;
  d.data_bytes = data_bytes;
  d.fetched_bytes = fetched_bytes;
  set_notes(arena, notes, d);
  d.cache_bytes = cache_bytes;
  d.evicted = arena.lines(evicted);
  d.evicted_count = evicted.size();
  d.evicted_bytes = evicted_bytes;
}

void describe(Arena& arena, const LazyPullReport& report, lamina_begin_pull_report& d) {
  const auto& [pull, is_arriving, is_already_there, hold] = report;
  static_cast<void>(hold);  // kept with the report: until it is freed, recover leaves the arrival
  d.pull = pointer<lamina_pull_report>(arena, &pull);
  d.is_arriving = flag(is_arriving);
  d.is_already_there = flag(is_already_there);
}

void describe(Arena& arena, const FetchReport& report, lamina_fetch_report& d) {
  // Late requests are only in the notes here.
  const auto& [snapshot, name, fetched_bytes, late_requests, notes] = report;
  d.snapshot = snapshot.c_str();
  d.name = name.c_str();
  d.fetched_bytes = fetched_bytes;
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const RemoteListing& listing, lamina_remote_listing& d) {
  const auto& [name, number, pause_id, parent_pause_id, created, memory_bytes, objects,
               stored_bytes, encrypted, error] = listing;
  d.name = name.c_str();
  d.error = error_or_null(arena, error);
  d.number = number;
  d.pause_id = id(pause_id);
  d.parent_pause_id = id(parent_pause_id);
  d.created = created.c_str();
  d.memory_bytes = memory_bytes;
  d.stored_bytes = stored_bytes;
  d.objects = objects;
  d.encrypted = flag(encrypted);
}

void describe(Arena& arena, const RemoteListReport& report, lamina_remote_list_report& d) {
  const auto& [snapshots, notes] = report;
  d.snapshots = pointers<lamina_remote_listing>(arena, snapshots);
  d.snapshot_count = snapshots.size();
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const RemoteRemoveReport& report, lamina_remote_remove_report& d) {
  const auto& [name, number, records, notes] = report;
  d.name = name.c_str();
  d.number = number;
  d.records = records;
  set_notes(arena, notes, d);
}

void describe(Arena& arena, const PruneReport& report, lamina_prune_report& d) {
  const auto& [kept_snapshots, removed_records, expired_pins, removed_objects, removed_bytes,
               kept_objects, aborted_uploads, notes] = report;
  d.kept_snapshots = kept_snapshots;
  d.removed_records = removed_records;
  d.expired_pins = expired_pins;
  d.removed_objects = removed_objects;
  d.removed_bytes = removed_bytes;
  d.kept_objects = kept_objects;
  d.aborted_uploads = aborted_uploads;
  set_notes(arena, notes, d);
}

void describe(Arena& /*arena*/, const KeyedState& state, lamina_keyed_state& d) {
  const auto& [name, number, is_newest, objects, stored_bytes] = state;
  d.name = name.c_str();
  d.number = number;
  d.is_newest = flag(is_newest);
  d.objects = objects;
  d.stored_bytes = stored_bytes;
}

void describe(Arena& arena, const RemoteKeyUse& use, lamina_remote_key& d) {
  const auto& [key_id, is_given, newest_states, objects, object_bytes, states] = use;
  d.key_id = key_id.c_str();
  d.is_given = flag(is_given);
  d.newest_states = newest_states;
  d.objects = objects;
  d.object_bytes = object_bytes;
  d.states = pointers<lamina_keyed_state>(arena, states);
  d.state_count = states.size();
}

void describe(Arena& arena, const RemoteKeysReport& report, lamina_remote_key_list_report& d) {
  const auto& [keys, problems] = report;
  d.keys = pointers<lamina_remote_key>(arena, keys);
  d.key_count = keys.size();
  d.problems = arena.lines(problems);
  d.problem_count = problems.size();
}

void describe(Arena& arena, const RotateKeyReport& report, lamina_remote_key_rotate_report& d) {
  const auto& [old_key_id, key_id, rotated_states, rotated_bytes, removed_states, kept_states,
               other_names, problems] = report;
  d.old_key_id = old_key_id.c_str();
  d.key_id = key_id.c_str();
  d.rotated_states = rotated_states;
  d.rotated_bytes = rotated_bytes;
  d.removed_states = removed_states;
  d.kept_states = kept_states;
  d.other_names = other_names;
  d.is_complete = flag(report.is_complete());
  d.problems = arena.lines(problems);
  d.problem_count = problems.size();
}

void describe(Arena& arena, const DestroyKeyReport& report, lamina_remote_key_destroy_report& d) {
  const auto& [key_id, lost_names, removed_states, lost_objects, lost_bytes, pins, notes] = report;
  d.key_id = key_id.c_str();
  d.lost_names = arena.lines(lost_names);
  d.lost_name_count = lost_names.size();
  d.removed_states = removed_states;
  d.lost_objects = lost_objects;
  d.lost_bytes = lost_bytes;
  d.pins = pins;
  set_notes(arena, notes, d);
}

}  // namespace lamina::capi
