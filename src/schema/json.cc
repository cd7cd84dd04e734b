#include "schema/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/utf8.h"

namespace lamina::schema {
namespace {

constexpr auto kReplace = Json::error_handler_t::replace;

/// True if the document has a string that is not UTF-8.
// NOLINTNEXTLINE(misc-no-recursion): no deeper than a report
bool has_other_bytes(const Json& document) {
  if (document.is_string()) return !is_utf8(document.get_ref<const std::string&>());
  return document.is_structured() && std::any_of(document.begin(), document.end(), has_other_bytes);
}

std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

/// A copy with a field NAME_hex beside each field NAME whose string is not UTF-8.
// NOLINTNEXTLINE(misc-no-recursion): no deeper than a report
Json with_bytes(const Json& document) {
  if (!document.is_structured()) return document;
  Json made = document.is_array() ? Json::array() : Json::object();
  for (const auto& [name, value] : document.items()) {
    if (document.is_array()) {
      made.push_back(with_bytes(value));
      continue;
    }
    made[name] = with_bytes(value);
    if (value.is_string() && has_other_bytes(value)) {
      made[name + "_hex"] = to_hex(value.get_ref<const std::string&>());
    }
  }
  return made;
}

/// Escapes the control characters that JSON permits and terminals interpret: DEL and C1. (The dump
/// has escaped those below 0x20.)
std::string without_controls(const std::string& text) {
  constexpr char kDelete = 0x7f;
  constexpr char kC1 = '\xc2';
  if (text.find_first_of({kDelete, kC1}) == std::string::npos) return text;
  std::string made;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (text[i] == kDelete) {
      made += "\\u007f";
    } else if (text[i] == kC1 && next >= 0x80 && next < 0xa0) {
      made += fmt::format("\\u{:04x}", next);
      ++i;
    } else {
      made += text[i];
    }
  }
  return made;
}

}  // namespace

std::string json_text(const Json& document, int indent) {
  const bool has_bytes = has_other_bytes(document);
  return without_controls(
      (has_bytes ? with_bytes(document) : document).dump(indent, ' ', false, kReplace));
}

}  // namespace lamina::schema
