// Reports to JSON and back.
#pragma once

#include "lamina/result.h"
#include "schema/json.h"
#include "schema/live_fork_report.h"
#include "schema/reports.h"

namespace lamina::schema {

Json to_json(const PauseReport& report);
Json to_json(const ResumeReport& report);
Json to_json(const RecoverAnswer& answer);
Json to_json(const ForkAnswer& answer);
Json to_json(const LiveForkAnswer& answer);
Json to_json(const RemovedAnswer& answer);
Json to_json(const RemovalAnswer& answer);
Json to_json(const RemoveAnswer& answer);
Json to_json(const CompactedAnswer& answer);
Json to_json(const CompactAnswer& answer);
Json to_json(const InspectAnswer& answer);
Json to_json(const ListAnswer& answer);
Json to_json(const SessionsAnswer& answer);
Json to_json(const StoreTotals& totals);
Json to_json(const PauseRecord& record);

RemovedAnswer answer_of(RemovedSnapshot removed, bool dry_run);
RemoveAnswer answer_of(RemoveReport report, bool dry_run);
RemoveReport report_of(RemoveAnswer answer);
InspectAnswer answer_of(SnapshotInfo info, bool with_extents);
ListAnswer answer_of(StoreListing listing, bool with_tree);

/// Reads a report from an untrusted document. kFailed: the message names the field that is missing
/// or wrong. T: PauseReport, ResumeReport, RecoverAnswer, ForkAnswer, LiveForkAnswer, RemoveAnswer,
/// CompactAnswer, PushAnswer, PullAnswer.
template <typename T>
Result<T> from_json(const Json& document);

}  // namespace lamina::schema
