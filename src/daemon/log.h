// Structured log lines: one JSON object per line on stderr.
#pragma once

#include <string_view>

#include "schema/error_json.h"

namespace lamina::daemon {

using Json = schema::Json;

enum class Level : std::uint8_t { kInfo, kWarning, kError };

/// Writes {"time", "level", "event", …fields}. Thread-safe: each line is one write(2). A stderr
/// that nobody reads holds nothing up: lines that would wait are dropped.
void log(Level level, std::string_view event, const Json& fields = Json::object());

/// {"kind", "message"} of an error, with its notes where it has some: fields of a log line.
Json error_fields(const Error& error);

/// The time now, RFC 3339 with milliseconds, UTC.
std::string time_text();

}  // namespace lamina::daemon
