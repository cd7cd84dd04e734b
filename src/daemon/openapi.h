// The description of the daemon's API, made from the descriptions of its requests and reports.
#pragma once

#include <string_view>

namespace lamina::daemon {

/// An OpenAPI 3.0 document, as docs/openapi.json has it (a test holds the two together).
/// Thread-safe.
std::string_view openapi_text();

}  // namespace lamina::daemon
