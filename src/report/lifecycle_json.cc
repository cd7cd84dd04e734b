#include "report/lifecycle_json.h"

namespace lamina::report {
namespace {

Json phases_json(const PausePhases& phases) {
  return {{"prepare_ms", phases.prepare}, {"pause_ms", phases.pause},
          {"create_ms", phases.create},   {"journal_ms", phases.journal},
          {"hook_ms", phases.hook},       {"resume_ms", phases.resume},
          {"frozen_ms", phases.frozen},   {"complete_ms", phases.complete},
          {"publish_ms", phases.publish}};
}

}  // namespace

const char* mode_name(ResumeMode mode) { return mode == ResumeMode::kFile ? "file" : "uffd"; }

Json pause_json(const PauseReport& report) {
  Json document = {{"message_type", "pause"},
                   {"snapshot", report.snapshot},
                   {"pause_id", report.pause_id.to_string()}};
  if (report.parent_pause_id) document["parent_pause_id"] = report.parent_pause_id->to_string();
  document["kind"] = report.is_diff ? "diff" : "full";
  document["reason"] = report.reason;
  document["generation"] = report.generation;
  document["memory_bytes"] = report.memory_bytes;
  document["stored_bytes"] = report.stored_bytes;
  document["unchanged_bytes"] = report.unchanged_bytes;
  document["phases"] = phases_json(report.phases);
  document["notes"] = report.notes;
  return document;
}

Json resume_json(const ResumeReport& report) {
  return {{"message_type", "resume"},
          {"snapshot", report.snapshot},
          {"pause_id", report.pause_id.to_string()},
          {"pid", report.pid},
          {"mode", mode_name(report.mode)},
          {"reason", report.reason},
          {"started_page_server", report.started_page_server},
          {"pin_ms", report.pin_ms},
          {"prepare_ms", report.prepare_ms},
          {"load_ms", report.load_ms},
          {"resume_ms", report.resume_ms},
          {"notes", report.notes}};
}

Json recover_json(const RecoverReport& report, bool dry_run) {
  return {{"message_type", "recover"},
          {"dry_run", dry_run},
          {"completed", report.completed},
          {"discarded", report.discarded},
          {"queued", report.queued},
          {"released_pins", report.released_pins},
          {"removed_maps", report.removed_maps},
          {"resumed_vms", report.resumed_vms},
          {"notes", report.notes}};
}

}  // namespace lamina::report
