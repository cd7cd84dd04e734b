// JSON documents and their text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace lamina::schema {

using Json = nlohmann::ordered_json;

/// `document` as text; on one line if `indent` is negative. JSON is UTF-8, but a path may not be.
/// In a string that is not UTF-8, U+FFFD replaces the invalid bytes, and a second field NAME_hex
/// has all its bytes as hexadecimal digits. Control characters are escaped.
std::string json_text(const Json& document, int indent);

}  // namespace lamina::schema
