// What is reported about one snapshot.
#pragma once

#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/inspect.h"
#include "lamina/remove.h"
#include "report/error_json.h"

namespace lamina::report {

// Of some reports also the report of such JSON, which may come from anywhere: kFailed names the
// field that is missing or wrong. Thread-safe.

Json inspect_json(const SnapshotInfo& info, bool with_extents);
Json fork_json(const ForkReport& report, double elapsed_ms);
Result<ForkReport> fork_from_json(const Json& document);

/// One of those that were to be removed.
Json removed_json(const RemovedSnapshot& removed, bool dry_run);

/// All of them.
Json removal_json(const RemoveReport& report, bool dry_run);
Result<RemoveReport> removal_from_json(const Json& document);

/// "nothing", "planned", "merged" or "dropped".
const char* outcome_name(CompactOutcome outcome);

/// One of those that were to be compacted.
Json compacted_json(const CompactReport& report, double elapsed_ms);

/// The compaction of one alone.
Json compaction_json(const CompactReport& report, bool dry_run, double elapsed_ms);
Result<CompactReport> compaction_from_json(const Json& document);

}  // namespace lamina::report
