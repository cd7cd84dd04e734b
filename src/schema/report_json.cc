#include "schema/report_json.h"

#include "schema/remote_reports.h"
#include "schema/report_reader.h"
#include "schema/report_writer.h"

namespace lamina::schema {

Json to_json(const PauseReport& report) { return ReportWriter::write(report); }
Json to_json(const ResumeReport& report) { return ReportWriter::write(report); }
Json to_json(const RecoverAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const ForkAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const LiveForkAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const RemovedAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const RemovalAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const RemoveAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const CompactedAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const CompactAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const InspectAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const ListAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const SessionsAnswer& answer) { return ReportWriter::write(answer); }
Json to_json(const StoreTotals& totals) { return ReportWriter::write(totals); }
Json to_json(const PauseRecord& record) { return ReportWriter::write(record); }

RemovedAnswer answer_of(RemovedSnapshot removed, bool dry_run) {
  const bool is_removed = !removed.error && !dry_run;
  return {std::move(removed), is_removed};
}

RemoveAnswer answer_of(RemoveReport report, bool dry_run) {
  RemoveAnswer answer{.snapshots = {}, .notes = std::move(report.notes), .dry_run = dry_run};
  for (RemovedSnapshot& removed : report.snapshots) {
    answer.snapshots.push_back(answer_of(std::move(removed), dry_run));
  }
  return answer;
}

RemoveReport report_of(RemoveAnswer answer) {
  RemoveReport report{.snapshots = {}, .notes = std::move(answer.notes)};
  for (RemovedAnswer& one : answer.snapshots) report.snapshots.push_back(std::move(one.removed));
  return report;
}

InspectAnswer answer_of(SnapshotInfo info, bool with_extents) {
  InspectAnswer answer{std::move(info), std::nullopt};
  if (!with_extents) return answer;
  answer.extents.emplace();
  for (const ExtentInfo& extent : answer.info.extents) {
    std::optional<Uuid> build_id;
    if (extent.layer) build_id = answer.info.layers[*extent.layer].build_id;
    answer.extents->push_back({extent, build_id});
  }
  return answer;
}

ListAnswer answer_of(StoreListing listing, bool with_tree) {
  ListAnswer answer{std::move(listing), std::nullopt};
  if (!with_tree) return answer;
  answer.tree.emplace();
  for (LineageRow& row : lineage_of(answer.listing.snapshots)) {
    std::string name = row.snapshot ? answer.listing.snapshots[*row.snapshot].name : "";
    answer.tree->push_back({std::move(row), std::move(name)});
  }
  return answer;
}

template <typename T>
Result<T> from_json(const Json& document) {
  return ReportReader::read<T>(document);
}

template Result<PauseReport> from_json(const Json&);
template Result<ResumeReport> from_json(const Json&);
template Result<RecoverAnswer> from_json(const Json&);
template Result<ForkAnswer> from_json(const Json&);
template Result<LiveForkAnswer> from_json(const Json&);
template Result<RemoveAnswer> from_json(const Json&);
template Result<CompactAnswer> from_json(const Json&);
template Result<PushAnswer> from_json(const Json&);
template Result<PullAnswer> from_json(const Json&);

}  // namespace lamina::schema
