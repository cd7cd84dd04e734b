#include "daemon/events.h"

namespace lamina::daemon {

void Events::add(Level level, std::string_view event, const Json& fields) {
  {
    const MutexLock lock(mutex_);
    const std::uint64_t number = numbers_.next();
    Json line = {{"sequence", number}, {"time", time_text()}, {"event", event}};
    line.update(fields);
    events_.push_back({number, schema::json_text(line, -1)});
    if (events_.size() > limit_) events_.pop_front();
  }
  log(level, event, fields);
}

std::string Events::lines_after(std::uint64_t after) const {
  const MutexLock lock(mutex_);
  std::string lines;
  for (const Event& event : events_) {
    if (event.sequence > after) lines += event.line + "\n";
  }
  return lines;
}

}  // namespace lamina::daemon
