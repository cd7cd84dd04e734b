#include "base/escape.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.h"

namespace lamina {
namespace {

constexpr std::string_view kEllipsis = "...";

/// True for a character that needs no escaping.
bool is_printable(std::string_view character) {
  constexpr unsigned char kFirstPrintable = 0x20;
  constexpr unsigned char kDelete = 0x7f;
  const auto byte = static_cast<unsigned char>(character.front());
  if (character.size() == 1) return byte >= kFirstPrintable && byte != kDelete;
  // U+0080 to U+009F; U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069.
  if (character >= "\xc2\x80" && character <= "\xc2\x9f") return false;
  const bool changes_direction = character == "\xe2\x80\x8e" || character == "\xe2\x80\x8f" ||
                                 (character >= "\xe2\x80\xaa" && character <= "\xe2\x80\xae") ||
                                 (character >= "\xe2\x81\xa6" && character <= "\xe2\x81\xa9");
  return !changes_direction;
}

/// Escapes the first character of `text`; sets `taken` to its length in bytes.
std::string escape_first(std::string_view text, std::size_t& taken) {
  const std::size_t length = utf8_length(text);
  taken = std::max<std::size_t>(length, 1);
  const std::string_view character = text.substr(0, taken);
  if (length > 0 && is_printable(character)) return std::string(character);
  std::string shown;
  for (const char c : character) {
    shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return shown;
}

}  // namespace

std::string escaped_line(std::string_view text) {
  std::string line;
  for (std::size_t taken = 0; !text.empty(); text.remove_prefix(taken)) {
    line += escape_first(text, taken);
  }
  return line;
}

std::string escaped_value(std::string_view text) {
  std::string shown;
  std::size_t end = 0;  // after the last character that leaves room for the ellipsis
  for (std::size_t taken = 0; !text.empty(); text.remove_prefix(taken)) {
    if (shown.size() + kEllipsis.size() <= kMaxEscapedValueBytes) end = shown.size();
    shown += escape_first(text, taken);
    if (shown.size() > kMaxEscapedValueBytes) return shown.substr(0, end) + std::string(kEllipsis);
  }
  return shown;
}

}  // namespace lamina
