// JSON documents, and their text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace lamina::schema {

using Json = nlohmann::ordered_json;

/// `document` as text. Paths need not be UTF-8, JSON must be: of what is not, U+FFFD stands in the
/// field, and the very bytes, as hexadecimal digits, in a field NAME_hex beside it. `indent` below
/// 0: on one line.
std::string json_text(const Json& document, int indent);

}  // namespace lamina::schema
