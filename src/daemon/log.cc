#include "daemon/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>

namespace lamina::daemon {
namespace {

std::string_view name_of(Level level) {
  switch (level) {
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "error";
}

}  // namespace

std::string time_text() {
  const auto now = std::chrono::system_clock::now();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - seconds).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms);
}

void log(Level level, std::string_view event, const Json& fields) {
  Json line = {{"time", time_text()}, {"level", name_of(level)}, {"event", event}};
  line.update(fields);
  const std::string text = schema::json_text(line, -1) + "\n";
  pollfd waiting{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&waiting, 1, 0) <= 0 || (waiting.revents & POLLOUT) == 0) return;
  static_cast<void>(::write(STDERR_FILENO, text.data(), text.size()) == 0);
}

Json error_fields(const Error& error) {
  Json fields = {{"kind", word_of(error.kind)}, {"message", error.message}};
  if (const std::string remedy = schema::remedy_of(error); !remedy.empty()) {
    fields["remedy"] = remedy;
  }
  if (!error.notes.empty()) fields["notes"] = error.notes;
  return fields;
}

}  // namespace lamina::daemon
