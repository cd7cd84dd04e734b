// The report of a live fork, as reports.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lamina/live_fork.h"
#include "schema/json.h"
#include "schema/reports.h"

namespace lamina::schema {

struct CloneAnswer {
  std::string api_socket;
  std::optional<ResumeReport> resume;
  std::optional<Error> error;
  double ready_ms = 0;
};
struct LiveForkAnswer {
  PauseReport pause;
  std::vector<CloneAnswer> clones;
  double readable_ms = 0;
  double clones_ms = 0;
  double durable_ms = 0;
  std::vector<std::string> notes;
};

LiveForkAnswer answer_of(LiveForkReport report);
LiveForkReport report_of(LiveForkAnswer answer);

template <typename Visitor, Is<CloneAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.text({.name = "api_socket"}, a.api_socket);
  v.real({.name = "ready_ms",
          .help = "From the beginning of the fork until its VM ran, or had failed"},
         a.ready_ms);
  v.nullable_object({.name = "resume", .help = "Null: it does not run", .component = "Resume"},
                    a.resume);
  v.error({.name = "error", .help = "Why it does not run"}, a.error);
}

template <typename Visitor, Is<LiveForkAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("fork_live");
  v.object({.name = "pause", .component = "Pause"}, a.pause);
  v.list({.name = "clones", .help = "In the order of the request", .component = "Clone"}, a.clones);
  v.real({.name = "readable_ms", .help = "From the beginning until clones could be loaded"},
         a.readable_ms);
  v.real({.name = "clones_ms", .help = "Until the last clone ran"}, a.clones_ms);
  v.real({.name = "durable_ms", .help = "Until the snapshot was on the disk"}, a.durable_ms);
  v.texts(kNotes, a.notes);
}

}  // namespace lamina::schema
