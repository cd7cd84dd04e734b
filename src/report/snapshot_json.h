// What is reported about one snapshot.
#pragma once

#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/inspect.h"
#include "lamina/remove.h"
#include "report/error_json.h"

namespace lamina::report {

Json inspect_json(const SnapshotInfo& info, bool with_extents);
Json fork_json(const ForkReport& report, double elapsed_ms);

/// One of those that were to be removed.
Json removed_json(const RemovedSnapshot& removed, bool dry_run);

/// "nothing", "planned", "merged" or "dropped".
const char* outcome_name(CompactOutcome outcome);

/// One of those that were to be compacted.
Json compacted_json(const CompactReport& report, double elapsed_ms);

}  // namespace lamina::report
