// The reports of operations: the output of the command line with --json, and the daemon's
// responses.
//
// Most visitors only write. A report that can also be read uses fields that are stored in the
// report; derived() and nullable() can only be written.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/block.h"
#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/inspect.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "lamina/remove.h"
#include "lamina/words.h"
#include "schema/field.h"

namespace lamina::schema {

inline constexpr Field kNotes{
    .name = "notes",
    .help = "Notes for a person, one line each. They name options as a remedy does"};
inline constexpr Field kSnapshot{.name = "snapshot",
                                 .help = "The snapshot's name; on the command line its path"};

// Reports of the library, with options of the request and the time that it took.
struct RecoverAnswer {
  RecoverReport report;
  bool dry_run = false;
};
struct ForkAnswer {
  ForkReport report;
  double elapsed_ms = 0;
};
struct RemovedAnswer {  ///< one snapshot of several
  RemovedSnapshot removed;
  bool is_removed = false;
};
struct RemoveAnswer {
  std::vector<RemovedAnswer> snapshots;
  std::vector<std::string> notes;
  bool dry_run = false;
};
struct RemovalAnswer {
  RemovedAnswer removed;
  std::vector<std::string> notes;
  bool dry_run = false;
};
struct CompactedAnswer {  ///< one snapshot of several
  CompactReport report;
  double elapsed_ms = 0;
};
struct CompactAnswer {
  CompactReport report;
  bool dry_run = false;
  double elapsed_ms = 0;
};
struct ExtentRow {
  ExtentInfo extent;
  std::optional<Uuid> build_id;  ///< absent: zeros
};
struct Windows {
  std::uint64_t bytes = std::uint64_t{2} << 20;
  std::uint32_t count = 0;
  std::uint32_t max_extents = 0;
  double mean_extents = 0;
};
struct InspectAnswer {
  SnapshotInfo info;
  std::optional<std::vector<ExtentRow>> extents;  ///< only if requested
};
struct TreeRow {
  LineageRow row;
  std::string name;  ///< of the snapshot; empty: it is not in the store
};
struct ListAnswer {
  StoreListing listing;
  std::optional<std::vector<TreeRow>> tree;  ///< only if requested
};
struct SessionsAnswer {
  std::vector<PinListing> sessions;
};

template <typename Visitor, Is<PausePhases> Phases>
void describe(Visitor& v, Phases& p) {
  v.real({.name = "prepare_ms"}, p.prepare_ms);
  v.real({.name = "pause_ms"}, p.pause_ms);
  v.real({.name = "create_ms"}, p.create_ms);
  v.real({.name = "journal_ms"}, p.journal_ms);
  v.real({.name = "hook_ms"}, p.hook_ms);
  v.real({.name = "resume_ms"}, p.resume_ms);
  v.real({.name = "frozen_ms"}, p.frozen_ms);
  v.real({.name = "complete_ms"}, p.complete_ms);
  v.real({.name = "publish_ms"}, p.publish_ms);
  v.real({.name = "durable_ms"}, p.durable_ms);
}

inline constexpr std::array kMemoryKinds = {Word<bool>{"diff", true}, Word<bool>{"full", false}};

template <typename Visitor, Is<PauseReport> Report>
void describe(Visitor& v, Report& r) {
  v.type("pause");
  v.text(kSnapshot, r.snapshot);
  v.id({.name = "pause_id"}, r.pause_id);
  v.optional_id({.name = "parent_pause_id"}, r.parent_pause_id);
  v.choice({.name = "kind"}, r.is_diff, kMemoryKinds);
  v.text({.name = "reason", .help = "Why it is a diff or a full memory file"}, r.reason);
  v.choice({.name = "place", .help = "Where Firecracker wrote the memory file"}, r.place);
  v.text({.name = "place_reason", .help = "Why there"}, r.place_reason);
  v.number({.name = "generation"}, r.generation);
  v.number({.name = "memory_bytes"}, r.memory_bytes);
  v.number({.name = "stored_bytes", .help = "Bytes of guest memory in the new layer"},
           r.stored_bytes);
  v.number({.name = "unchanged_bytes", .help = "Written by Firecracker, but equal to the base's"},
           r.unchanged_bytes);
  v.object({.name = "phases", .component = "Phases"}, r.phases);
  v.texts(kNotes, r.notes);
}

/// The modes that a report can have.
inline constexpr std::array kReportedModes = {Word<ResumeMode>{"uffd", ResumeMode::kPageFaults},
                                              Word<ResumeMode>{"file", ResumeMode::kFile}};

template <typename Visitor, Is<ResumeReport> Report>
void describe(Visitor& v, Report& r) {
  v.type("resume");
  v.text(kSnapshot, r.snapshot);
  v.id({.name = "pause_id"}, r.pause_id);
  v.number({.name = "pid"}, r.pid);
  v.choice({.name = "mode"}, r.mode, kReportedModes);
  v.text({.name = "reason", .help = "Why this mode"}, r.reason);
  v.flag({.name = "started_page_server"}, r.started_page_server);
  v.id({.name = "resume_id", .help = "Random; no other resume has it"}, r.resume_id);
  v.number(
      {.name = "clone", .help = "The how manyth resume of the pause in this store; 0: unknown"},
      r.clone_number);
  v.text({.name = "generation_device", .help = "How the guest learns of it: vmgenid or none"},
         r.generation_device);
  v.real({.name = "pin_ms"}, r.pin_ms);
  v.real({.name = "prepare_ms", .help = "Materializing, or starting the page server"},
         r.prepare_ms);
  v.real({.name = "load_ms"}, r.load_ms);
  v.real({.name = "resume_ms"}, r.resume_ms);
  v.texts(kNotes, r.notes);
}

template <typename Visitor, Is<ArrivalReport> Report>
void describe(Visitor& v, Report& r) {
  v.id({.name = "id"}, r.id);
  v.text({.name = "name", .help = "That it will get; empty: unreadable"}, r.name);
  v.text({.name = "bucket"}, r.bucket);
  v.number({.name = "bytes", .help = "Allocated in the store"}, r.bytes);
  v.number({.name = "frames"}, r.frames);
  v.number({.name = "frames_here", .help = "Frames that were fetched"}, r.frames_here);
  v.number({.name = "vms", .help = "VMs that were resumed from it and may run"}, r.vms);
  v.flag({.name = "fetcher", .help = "A process fetches it now"}, r.has_fetcher);
  v.flag({.name = "being_resumed", .help = "A resume has begun it, and has no VM yet"},
         r.is_being_resumed);
  v.flag({.name = "lost", .help = "The bucket does not have the other frames any more"}, r.is_lost);
  v.flag({.name = "removed", .help = "Nobody used it any more"}, r.is_removed);
}

template <typename Visitor, Is<RecoverAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  auto& r = a.report;
  v.type("recover");
  v.flag({.name = "dry_run"}, a.dry_run);
  v.number({.name = "completed", .help = "Acknowledged pauses that became snapshots"}, r.completed);
  v.number({.name = "discarded", .help = "Pauses that Firecracker had not acknowledged"},
           r.discarded);
  v.number({.name = "queued", .help = "Pauses that could not be completed"}, r.queued);
  v.number({.name = "released_pins", .help = "Pins of VMs that have ended"}, r.released_pins);
  v.number({.name = "removed_maps"}, r.removed_maps);
  v.number({.name = "resumed_vms", .help = "VMs that an unfinished pause had left frozen"},
           r.resumed_vms);
  v.number({.name = "foreign",
            .help = "Pins and pauses of another store, or of another host, that are left alone"},
           r.foreign);
  v.number({.name = "adopted", .help = "Foreign pins and pauses that became this store's"},
           r.adopted);
  v.number({.name = "removed_arrivals", .help = "Arriving snapshots that nobody used any more"},
           r.removed_arrivals);
  v.list({.name = "arrivals",
          .help = "Snapshots that are still being fetched, removed ones included",
          .component = "Arrival"},
         r.arrivals);
  v.texts(kNotes, r.notes);
}

template <typename Visitor, Is<ForkAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  auto& r = a.report;
  v.type("fork");
  v.text(kSnapshot, r.fork);
  v.id({.name = "pause_id", .help = "The same as the source's"}, r.pause_id);
  v.number({.name = "generation"}, r.generation);
  v.number({.name = "linked_layers"}, r.linked_layers);
  v.number({.name = "copied_layers"}, r.copied_layers);
  v.number({.name = "linked_bytes"}, r.linked_bytes);
  v.number({.name = "copied_bytes"}, r.copied_bytes);
  v.texts(kNotes, r.notes);
  v.real({.name = "elapsed_ms"}, a.elapsed_ms);
}

template <typename Visitor, Is<RemovedAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  auto& r = a.removed;
  v.text(kSnapshot, r.snapshot);
  v.flag({.name = "removed"}, a.is_removed);
  v.error({.name = "error", .help = "Why it was not removed"}, r.error);
  v.nullable_id({.name = "pause_id"}, r.pause_id);
  v.number({.name = "running_vms", .help = "Running VMs that were resumed from it"}, r.running_vms);
  v.number({.name = "freed_bytes"}, r.freed_bytes);
  v.number({.name = "remaining_bytes", .help = "Bytes of files that have other names"},
           r.remaining_bytes);
}

template <typename Visitor, Is<RemoveAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("rm");
  v.flag({.name = "dry_run"}, a.dry_run);
  v.list({.name = "snapshots",
          .help = "In the order given, each once",
          .component = "RemovedSnapshot"},
         a.snapshots);
  v.texts(kNotes, a.notes);
}

/// The report of a request that removes one snapshot.
template <typename Visitor, Is<RemovalAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("rm");
  v.flag({.name = "dry_run"}, a.dry_run);
  describe(v, a.removed);
  v.texts(kNotes, a.notes);
}

/// What a report says about one snapshot.
template <typename Visitor, typename Report, typename Elapsed>
void describe_compacted(Visitor& v, Report& r, Elapsed& elapsed_ms) {
  v.text(kSnapshot, r.snapshot);
  v.choice(
      {.name = "outcome", .help = "'dropped': pauses replaced the snapshot during each attempt"},
      r.outcome);
  v.id({.name = "pause_id"}, r.pause_id);
  v.number({.name = "layers_before"}, r.layers_before);
  v.number({.name = "layers_after"}, r.layers_after);
  v.number({.name = "merged_layers"}, r.merged_layers);
  v.number({.name = "read_bytes"}, r.read_bytes);
  v.number({.name = "written_bytes"}, r.written_bytes);
  v.number({.name = "cloned_bytes"}, r.cloned_bytes);
  v.number({.name = "freed_bytes"}, r.freed_bytes);
  v.number({.name = "duplicated_bytes"}, r.duplicated_bytes);
  v.number({.name = "attempts"}, r.attempts);
  v.flag({.name = "next_pause_must_wait"}, r.next_pause_must_wait);
  v.texts(kNotes, r.notes);
  v.real({.name = "elapsed_ms"}, elapsed_ms);
}

template <typename Visitor, Is<CompactedAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  describe_compacted(v, a.report, a.elapsed_ms);
}

template <typename Visitor, Is<CompactAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("compact");
  v.text({.name = "policy", .help = "With all its limits"}, a.report.policy);
  v.flag({.name = "dry_run"}, a.dry_run);
  describe_compacted(v, a.report, a.elapsed_ms);
}

template <typename Visitor, Is<LayerInfo> Layer>
void describe(Visitor& v, Layer& l) {
  auto* file = l.file ? &*l.file : nullptr;
  v.id({.name = "build_id"}, l.build_id);
  v.nullable({.name = "file"}, file ? &file->path : nullptr);
  v.nullable({.name = "layout"}, file ? &file->layout : nullptr);
  v.nullable({.name = "checksums"}, l.has_checksums ? &*l.has_checksums : nullptr);
  v.number({.name = "live_blocks"}, l.live_blocks);
  v.nullable({.name = "dead_blocks"}, file ? &file->dead_blocks : nullptr);
  v.number({.name = "extents"}, l.extents);
  v.nullable({.name = "file_bytes"}, file ? &file->size_bytes : nullptr);
  v.nullable({.name = "allocated_bytes"}, file ? &file->allocated_bytes : nullptr);
  v.nullable({.name = "link_count"}, file ? &file->link_count : nullptr);
}

template <typename Visitor, Is<Windows> Described>
void describe(Visitor& v, Described& w) {
  v.number({.name = "bytes"}, w.bytes);
  v.number({.name = "count"}, w.count);
  v.number({.name = "max_extents"}, w.max_extents);
  v.real({.name = "mean_extents"}, w.mean_extents);
}

template <typename Visitor, Is<ExtentRow> Row>
void describe(Visitor& v, Row& r) {
  v.number({.name = "offset"}, r.extent.offset_bytes);
  v.number({.name = "length"}, r.extent.length_bytes);
  v.nullable_id({.name = "build_id", .help = "Null: zeros"}, r.build_id);
  v.number({.name = "storage_offset"}, r.extent.storage_offset_bytes);
}

template <typename Visitor, Is<ResumeCoverage> Coverage>
void describe(Visitor& v, Coverage& c) {
  v.text({.name = "time", .help = "When the recording ended"}, c.time);
  v.flag({.name = "replayed", .help = "The working set was filled in advance"}, c.was_replayed);
  v.number({.name = "used_blocks", .help = "Filled in advance, or on a fault"}, c.used_blocks);
  v.number({.name = "known_blocks", .help = "Of those, in the working set"}, c.known_blocks);
}

template <typename Visitor, Is<RecordedPhases> Phases>
void describe(Visitor& v, Phases& p) {
  v.real({.name = "prepare_ms"}, p.prepare_ms);
  v.real({.name = "pause_ms"}, p.pause_ms);
  v.real({.name = "create_ms"}, p.create_ms);
  v.real({.name = "journal_ms"}, p.journal_ms);
  v.real({.name = "hook_ms"}, p.hook_ms);
  v.real({.name = "resume_ms"}, p.resume_ms);
  v.real({.name = "frozen_ms"}, p.frozen_ms);
}

template <typename Visitor, Is<PauseRecord> Record>
void describe(Visitor& v, Record& r) {
  v.choice({.name = "kind"}, r.is_diff, kMemoryKinds);
  v.text({.name = "reason", .help = "Why it is a diff or a full memory file"}, r.reason);
  v.nullable_object({.name = "phases",
                     .help = "Those until it was stored. Null: it was completed after a crash",
                     .component = "RecordedPhases"},
                    r.phases);
}

template <typename Visitor, Is<InspectAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  auto& i = a.info;
  v.type("inspect");
  v.text({.name = "path"}, i.path);
  v.choice({.name = "header"}, i.header);
  v.id({.name = "build_id"}, i.build_id);
  v.id({.name = "base_build_id"}, i.base_build_id);
  v.nullable_id({.name = "pause_id"}, i.pause_id);
  v.nullable_id({.name = "parent_pause_id"}, i.parent_pause_id);
  v.nullable_text({.name = "created"}, i.created);
  v.nullable_text(
      {.name = "huge_pages", .help = "Pages of the VM's memory: None, 2M or Transparent"},
      i.huge_pages);
  v.number({.name = "generation"}, i.generation);
  v.number({.name = "memory_bytes"}, i.memory_bytes);
  v.derived({.name = "block_bytes"}, kBlockBytes);
  v.number({.name = "zero_blocks"}, i.zero_blocks);
  v.nullable({.name = "vmstate_bytes"}, i.vmstate_bytes ? &*i.vmstate_bytes : nullptr);
  v.number({.name = "working_set_blocks"}, i.working_set_blocks);
  v.list({.name = "last_resumes", .help = "Recorded ones, oldest first"}, i.last_resumes);
  v.flag({.name = "once", .help = "It may be resumed only once"}, i.once);
  v.flag({.name = "consumed", .help = "It was, if it may be only once"}, i.is_consumed);
  v.nullable_object({.name = "pause",
                     .help = "How its pause was taken; null: not recorded",
                     .component = "PauseRecord"},
                    i.pause);
  v.derived({.name = "extent_count"}, static_cast<std::uint64_t>(i.extents.size()));
  Windows windows{.count = i.windows,
                  .max_extents = i.max_extents_per_window,
                  .mean_extents = i.mean_extents_per_window};
  v.object({.name = "windows"}, windows);
  v.list({.name = "layers", .help = "Oldest first"}, i.layers);
  v.optional_list({.name = "extents"}, a.extents);
}

template <typename Visitor, Is<SnapshotListing> Listing>
void describe(Visitor& v, Listing& s) {
  v.text({.name = "name"}, s.name);
  v.error({.name = "error", .help = "Why it cannot be used as it is"}, s.error);
  v.nullable_id({.name = "pause_id"}, s.pause_id);
  v.nullable_id({.name = "parent_pause_id"}, s.parent_pause_id);
  v.nullable_text({.name = "parent"}, s.parent);
  v.nullable_text({.name = "created"}, s.created);
  v.number({.name = "generation"}, s.generation);
  v.number({.name = "layers"}, s.layers);
  v.number({.name = "memory_bytes"}, s.memory_bytes);
  const std::string header(s.header ? word_of(*s.header) : "");
  v.nullable_text({.name = "header"}, header);
  v.flag({.name = "vmstate"}, s.has_vmstate);
  v.number({.name = "own_bytes", .help = "Bytes that removing it frees"}, s.own_bytes);
  v.number({.name = "shared_bytes", .help = "Bytes of files that have other names too"},
           s.shared_bytes);
  v.number({.name = "resumes"}, s.resumes);
  v.number({.name = "running_vms"}, s.running);
}

template <typename Visitor, Is<PinListing> Pin>
void describe(Visitor& v, Pin& p) {
  v.text({.name = "name", .help = "PID-START"}, p.name);
  v.error({.name = "error"}, p.error);
  v.number({.name = "pid"}, p.pid);
  v.flag({.name = "running"}, p.running);
  v.nullable_text({.name = "foreign",
                   .help = "Why it is left alone: it came with a copy of another store, or another "
                           "host wrote it"},
                  p.foreign);
  v.nullable_text({.name = "snapshot"}, p.snapshot);
  v.nullable_id({.name = "base_pause_id"}, p.base_pause_id);
  v.nullable_text({.name = "since"}, p.since);
  v.flag({.name = "by_page_faults"}, p.by_page_faults);
  v.nullable_id({.name = "map"}, p.map);
}

template <typename Visitor, Is<PendingListing> Pending>
void describe(Visitor& v, Pending& p) {
  v.id({.name = "id"}, p.id);
  v.choice({.name = "kind"}, p.kind);
  v.number({.name = "allocated_bytes"}, p.allocated_bytes);
  v.nullable_text({.name = "since"}, p.since);
  v.nullable_text({.name = "foreign"}, p.foreign);
}

template <typename Visitor, Is<MapListing> Map>
void describe(Visitor& v, Map& m) {
  v.id({.name = "pause_id"}, m.pause_id);
  v.number({.name = "allocated_bytes"}, m.allocated_bytes);
  v.flag({.name = "used"}, m.used);
}

template <typename Visitor, Is<StoreTotals> Totals>
void describe(Visitor& v, Totals& t) {
  v.derived({.name = "allocated_bytes"}, t.sum());
  v.number({.name = "snapshot_bytes"}, t.snapshot_bytes);
  v.number({.name = "pin_bytes"}, t.pin_bytes);
  v.number({.name = "pending_bytes"}, t.pending_bytes);
  v.number({.name = "temporary_bytes"}, t.temporary_bytes);
  v.number({.name = "map_bytes"}, t.map_bytes);
}

template <typename Visitor, Is<TreeRow> Row>
void describe(Visitor& v, Row& r) {
  v.number({.name = "depth"}, r.row.depth);
  v.nullable_text({.name = "name"}, r.name);
  v.nullable_id({.name = "missing_pause_id"}, r.row.missing);
  v.nullable_text({.name = "missing_name"}, r.row.missing_name);
  v.flag({.name = "in_cycle"}, r.row.in_cycle);
}

template <typename Visitor, Is<ListAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  auto& l = a.listing;
  v.type("ls");
  v.text({.name = "store"}, l.path);
  v.list({.name = "snapshots", .component = "ListedSnapshot"}, l.snapshots);
  v.list({.name = "pins", .component = "Session"}, l.pins);
  v.list({.name = "pending"}, l.pending);
  v.list({.name = "maps"}, l.maps);
  v.object({.name = "totals"}, l.totals);
  v.texts(kNotes, l.notes);
  v.optional_list({.name = "tree", .help = "With tree=true"}, a.tree);
}

template <typename Visitor, Is<SessionsAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("sessions");
  v.list({.name = "sessions", .component = "Session"}, a.sessions);
}

}  // namespace lamina::schema
