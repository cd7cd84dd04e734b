// The reports of operations on the keys of a bucket, as reports.h.
#pragma once

#include "lamina/remote_keys.h"
#include "schema/reports.h"

namespace lamina::schema {

struct RotateKeyAnswer {
  RotateKeyReport report;
  bool dry_run = false;
};
struct DestroyKeyAnswer {
  DestroyKeyReport report;
  bool dry_run = false;
};

inline constexpr Field kDryRun{.name = "dry_run"};
inline constexpr Field kProblems{.name = "problems", .help = "One line each"};

template <typename Visitor, Is<KeyedState> State>
void describe(Visitor& v, State& s) {
  v.text({.name = "name"}, s.name);
  v.number({.name = "number"}, s.number);
  v.flag({.name = "newest", .help = "What a pull gets"}, s.is_newest);
  v.number({.name = "objects"}, s.objects);
  v.number({.name = "stored_bytes"}, s.stored_bytes);
}

template <typename Visitor, Is<RemoteKeyUse> Use>
void describe(Visitor& v, Use& u) {
  v.text({.name = "key_id", .help = "Empty: not encrypted"}, u.key_id);
  v.flag({.name = "given", .help = "It is that of --key-file"}, u.is_given);
  v.number({.name = "newest_states"}, u.newest_states);
  v.number({.name = "objects", .help = "Each counted once"}, u.objects);
  v.number({.name = "object_bytes"}, u.object_bytes);
  v.list({.name = "states"}, u.states);
}

template <typename Visitor, Is<RemoteKeysReport> Report>
void describe(Visitor& v, Report& r) {
  v.type("remote_keys");
  v.list({.name = "keys"}, r.keys);
  v.texts(kProblems, r.problems);
}

template <typename Visitor, Is<RotateKeyAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("remote_key_rotation");
  v.text({.name = "old_key_id"}, a.report.old_key_id);
  v.text({.name = "key_id"}, a.report.key_id);
  v.number({.name = "rotated_states"}, a.report.rotated_states);
  v.number({.name = "rotated_bytes", .help = "Of their objects; none is sent"},
           a.report.rotated_bytes);
  v.number({.name = "removed_states", .help = "Older ones with the old key"},
           a.report.removed_states);
  v.number({.name = "kept_states", .help = "Older ones with the old key"}, a.report.kept_states);
  v.number({.name = "other_names", .help = "Whose newest state has another key, or none"},
           a.report.other_names);
  v.derived({.name = "complete", .help = "The old key is not needed any more"},
            a.report.is_complete());
  v.flag(kDryRun, a.dry_run);
  v.texts(kProblems, a.report.problems);
}

template <typename Visitor, Is<DestroyKeyAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("remote_key_destruction");
  v.text({.name = "key_id"}, a.report.key_id);
  v.texts({.name = "lost_names"}, a.report.lost_names);
  v.number({.name = "removed_states", .help = "Older ones too"}, a.report.removed_states);
  v.number({.name = "lost_objects", .help = "That a prune collects"}, a.report.lost_objects);
  v.number({.name = "lost_bytes"}, a.report.lost_bytes);
  v.number({.name = "pins", .help = "Pushes and pulls that may be under way"}, a.report.pins);
  v.flag(kDryRun, a.dry_run);
  v.texts(kNotes, a.report.notes);
}

}  // namespace lamina::schema
