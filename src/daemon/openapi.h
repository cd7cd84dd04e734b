// The OpenAPI document of the daemon, generated from the descriptions of its requests and reports.
#pragma once

#include <string_view>

namespace lamina::daemon {

/// The OpenAPI 3.0 document. docs/openapi.json is a copy, which a test compares. Thread-safe.
std::string_view openapi_text();

}  // namespace lamina::daemon
