// The reports of operations on a bucket, as reports.h.
#pragma once

#include "lamina/remote.h"
#include "schema/reports.h"

namespace lamina::schema {

struct PushAnswer {
  PushReport report;
  double elapsed_ms = 0;
};
struct PullAnswer {
  PullReport report;
  double elapsed_ms = 0;
};
struct PruneAnswer {
  PruneReport report;
  bool dry_run = false;
};

inline constexpr Field kElapsed{.name = "elapsed_ms"};

template <typename Visitor, Is<PushReport> Report>
void describe(Visitor& v, Report& r) {
  v.type("remote_push");
  v.text(kSnapshot, r.snapshot);
  v.text({.name = "name", .help = "Under which it was published"}, r.name);
  v.number({.name = "number"}, r.number);
  v.id({.name = "pause_id"}, r.pause_id);
  v.flag({.name = "conflict",
          .help = "The name has a newer state that the snapshot does not descend from; it was "
                  "published as NAME@PAUSE"},
         r.is_conflict);
  v.flag({.name = "already_there", .help = "Nothing was sent"}, r.is_already_there);
  v.number({.name = "uploaded_objects"}, r.uploaded_objects);
  v.number({.name = "reused_objects"}, r.reused_objects);
  v.number({.name = "data_bytes", .help = "Of layers and files, before compression"}, r.data_bytes);
  v.number({.name = "uploaded_bytes"}, r.uploaded_bytes);
  v.number({.name = "reused_bytes"}, r.reused_bytes);
  v.texts(kNotes, r.notes);
}

template <typename Visitor, Is<PushAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  describe(v, a.report);
  v.real(kElapsed, a.elapsed_ms);
}

template <typename Visitor, Is<PullReport> Report>
void describe(Visitor& v, Report& r) {
  v.type("remote_pull");
  v.text(kSnapshot, r.snapshot);
  v.text({.name = "name", .help = "In the bucket"}, r.name);
  v.number({.name = "number"}, r.number);
  v.id({.name = "pause_id"}, r.pause_id);
  v.number({.name = "generation"}, r.generation);
  v.number({.name = "memory_bytes"}, r.memory_bytes);
  v.number({.name = "linked_layers", .help = "That another snapshot of the store had"},
           r.linked_layers);
  v.number({.name = "fetched_layers"}, r.fetched_layers);
  v.number({.name = "data_bytes", .help = "Of what was fetched, decompressed"}, r.data_bytes);
  v.number({.name = "fetched_bytes"}, r.fetched_bytes);
  v.number({.name = "cache_bytes",
            .help = "With a bound of the cache: of all snapshots that the bucket has too"},
           r.cache_bytes);
  v.texts({.name = "evicted", .help = "Names of the snapshots that made room"}, r.evicted);
  v.number({.name = "evicted_bytes", .help = "That this has freed"}, r.evicted_bytes);
  v.texts(kNotes, r.notes);
}

template <typename Visitor, Is<PullAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  describe(v, a.report);
  v.real(kElapsed, a.elapsed_ms);
}

template <typename Visitor, Is<PruneAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("remote_prune");
  v.number({.name = "kept_snapshots"}, a.report.kept_snapshots);
  v.number({.name = "removed_records", .help = "By the rules of retention"},
           a.report.removed_records);
  v.number({.name = "expired_pins"}, a.report.expired_pins);
  v.number({.name = "removed_objects"}, a.report.removed_objects);
  v.number({.name = "removed_bytes"}, a.report.removed_bytes);
  v.number({.name = "kept_objects"}, a.report.kept_objects);
  v.number({.name = "aborted_uploads", .help = "Multipart uploads that nobody would complete"},
           a.report.aborted_uploads);
  v.flag({.name = "dry_run"}, a.dry_run);
  v.texts(kNotes, a.report.notes);
}

}  // namespace lamina::schema
