#include "report/lifecycle_json.h"

#include "report/json_reader.h"

namespace lamina::report {
namespace {

Json phases_json(const PausePhases& phases) {
  return {{"prepare_ms", phases.prepare}, {"pause_ms", phases.pause},
          {"create_ms", phases.create},   {"journal_ms", phases.journal},
          {"hook_ms", phases.hook},       {"resume_ms", phases.resume},
          {"frozen_ms", phases.frozen},   {"complete_ms", phases.complete},
          {"publish_ms", phases.publish}};
}

Result<PausePhases> phases_from_json(const Json& document) {
  PausePhases phases;
  JsonReader reader(document, "phases");
  reader.real("prepare_ms", phases.prepare);
  reader.real("pause_ms", phases.pause);
  reader.real("create_ms", phases.create);
  reader.real("journal_ms", phases.journal);
  reader.real("hook_ms", phases.hook);
  reader.real("resume_ms", phases.resume);
  reader.real("frozen_ms", phases.frozen);
  reader.real("complete_ms", phases.complete);
  reader.real("publish_ms", phases.publish);
  return reader.end_with(phases);
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

Result<PauseReport> pause_from_json(const Json& document) {
  PauseReport report;
  JsonReader reader(document);
  reader.type("pause");
  reader.text("snapshot", report.snapshot);
  reader.uuid("pause_id", report.pause_id);
  if (reader.ok()) reader.uuid_if_there("parent_pause_id", report.parent_pause_id);
  reader.choice<bool>("kind", report.is_diff, {{"diff", true}, {"full", false}});
  reader.text("reason", report.reason);
  reader.number("generation", report.generation);
  reader.number("memory_bytes", report.memory_bytes);
  reader.number("stored_bytes", report.stored_bytes);
  reader.number("unchanged_bytes", report.unchanged_bytes);
  if (const Json* phases = reader.find("phases")) {
    LAMINA_ASSIGN_OR_RETURN(report.phases, phases_from_json(*phases));
  }
  reader.texts("notes", report.notes);
  return reader.end_with(std::move(report));
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

Result<ResumeReport> resume_from_json(const Json& document) {
  ResumeReport report;
  JsonReader reader(document);
  reader.type("resume");
  reader.text("snapshot", report.snapshot);
  reader.uuid("pause_id", report.pause_id);
  reader.number("pid", report.pid);
  reader.choice<ResumeMode>("mode", report.mode,
                            {{"uffd", ResumeMode::kPageFaults}, {"file", ResumeMode::kFile}});
  reader.text("reason", report.reason);
  reader.flag("started_page_server", report.started_page_server);
  reader.real("pin_ms", report.pin_ms);
  reader.real("prepare_ms", report.prepare_ms);
  reader.real("load_ms", report.load_ms);
  reader.real("resume_ms", report.resume_ms);
  reader.texts("notes", report.notes);
  return reader.end_with(std::move(report));
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
          {"foreign", report.foreign},
          {"adopted", report.adopted},
          {"notes", report.notes}};
}

Result<RecoverReport> recover_from_json(const Json& document) {
  RecoverReport report;
  JsonReader reader(document);
  reader.type("recover");
  reader.number("completed", report.completed);
  reader.number("discarded", report.discarded);
  reader.number("queued", report.queued);
  reader.number("released_pins", report.released_pins);
  reader.number("removed_maps", report.removed_maps);
  reader.number("resumed_vms", report.resumed_vms);
  reader.number("foreign", report.foreign);
  reader.number("adopted", report.adopted);
  reader.texts("notes", report.notes);
  return reader.end_with(std::move(report));
}

}  // namespace lamina::report
