// Structured log lines: one JSON object per line on stderr.
#pragma once

#include <string_view>

#include "schema/error_json.h"

namespace lamina::daemon {

using Json = schema::Json;

enum class Level : std::uint8_t { kInfo, kWarning, kError };

/// Writes {"time", "level", "event", …fields}. Thread-safe: each line is one write(2). A line is
/// dropped if the write would block.
void log(Level level, std::string_view event, const Json& fields = Json::object());

/// Fields of a log line about an error: {"kind", "message"}, and "notes" if there are any.
Json error_fields(const Error& error);

/// The current time: RFC 3339 with milliseconds, UTC.
std::string time_text();

}  // namespace lamina::daemon
