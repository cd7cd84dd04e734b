// The report about the queue of pushes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/push_queue.h"
#include "schema/field.h"

namespace lamina::daemon {

struct QueuedPush {
  std::string name;
  Uuid pause_id;
  PushState state = PushState::kWaiting;
  double age_s = 0;
  std::uint64_t failed_attempts = 0;
  double next_attempt_s = 0;
  std::optional<Error> error;
};

struct PushQueueAnswer {
  std::string url;
  std::string names;
  std::vector<QueuedPush> queue;
};

template <typename Visitor, schema::Is<QueuedPush> Push>
void describe(Visitor& v, Push& p) {
  v.text({.name = "name"}, p.name);
  v.id({.name = "pause_id", .help = "The latest pause of the name"}, p.pause_id);
  v.choice({.name = "state", .help = "Failed: it is not tried again before the name's next pause"},
           p.state);
  v.real({.name = "age_s", .help = "How long the name has a state that was not pushed"}, p.age_s);
  v.number({.name = "failed_attempts", .help = "In a row"}, p.failed_attempts);
  v.real({.name = "next_attempt_s", .help = "Time to the next attempt; 0 if it may begin now"},
         p.next_attempt_s);
  v.error({.name = "error", .help = "Of the last attempt"}, p.error);
}

template <typename Visitor, schema::Is<PushQueueAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("push_queue");
  v.text({.name = "url", .help = "The bucket of --push; empty: nothing is pushed by itself"},
         a.url);
  v.text({.name = "names", .help = "The pattern of --push-names"}, a.names);
  v.list({.name = "queue", .help = "The oldest first", .component = "QueuedPush"}, a.queue);
}

}  // namespace lamina::daemon
