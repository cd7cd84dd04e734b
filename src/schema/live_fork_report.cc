#include "schema/live_fork_report.h"

#include <utility>

#include "base/error.h"

namespace lamina::schema {

LiveForkAnswer answer_of(LiveForkReport report) {
  LiveForkAnswer answer;
  answer.pause = std::move(report.pause);
  answer.clones.reserve(report.clones.size());
  for (LiveClone& clone : report.clones) {
    CloneAnswer& one = answer.clones.emplace_back();
    one.api_socket = std::move(clone.api_socket);
    one.ready_ms = clone.ready_ms;
    if (clone.resumed) {
      one.resume = std::move(*clone.resumed);
    } else {
      one.error = std::move(clone.resumed.error());
    }
  }
  answer.readable_ms = report.readable_ms;
  answer.clones_ms = report.clones_ms;
  answer.durable_ms = report.durable_ms;
  answer.notes = std::move(report.notes);
  return answer;
}

LiveForkReport report_of(LiveForkAnswer answer) {
  LiveForkReport report;
  report.pause = std::move(answer.pause);
  report.clones.reserve(answer.clones.size());
  for (CloneAnswer& one : answer.clones) {
    LiveClone& clone = report.clones.emplace_back();
    clone.api_socket = std::move(one.api_socket);
    clone.ready_ms = one.ready_ms;
    if (one.resume) {
      clone.resumed = std::move(*one.resume);
    } else if (one.error) {
      clone.resumed = std::unexpected(std::move(*one.error));
    } else {
      clone.resumed = fail(ErrorKind::kFailed, "it does not run, and the report does not say why");
    }
  }
  report.readable_ms = answer.readable_ms;
  report.clones_ms = answer.clones_ms;
  report.durable_ms = answer.durable_ms;
  report.notes = std::move(answer.notes);
  return report;
}

}  // namespace lamina::schema
