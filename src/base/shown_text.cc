#include "base/shown_text.h"

#include <fmt/format.h>

namespace lamina {
namespace {

constexpr std::string_view kEllipsis = "...";

/// True for the second byte of a character of UTF-8, and those after it.
bool is_continuation(char c) {
  constexpr unsigned kMask = 0xc0;
  constexpr unsigned kContinuation = 0x80;
  return (static_cast<unsigned char>(c) & kMask) == kContinuation;
}

/// One byte, escaped where it must be.
std::string shown_byte(char c) {
  constexpr unsigned char kFirstPrintable = 0x20;
  constexpr unsigned char kDelete = 0x7f;
  const auto byte = static_cast<unsigned char>(c);
  if (byte < kFirstPrintable || byte == kDelete) return fmt::format("\\x{:02x}", byte);
  return {c};
}

}  // namespace

std::string shown_line(std::string_view text) {
  std::string line;
  for (const char c : text) line += shown_byte(c);
  return line;
}

std::string shown_value(std::string_view text) {
  std::string shown;
  std::size_t end = 0;  // of what leaves room for the ellipsis, and is whole
  for (const char c : text) {
    if (!is_continuation(c) && shown.size() + kEllipsis.size() <= kMaxShownValueBytes) {
      end = shown.size();
    }
    shown += shown_byte(c);
    if (shown.size() > kMaxShownValueBytes) return shown.substr(0, end) + std::string(kEllipsis);
  }
  return shown;
}

}  // namespace lamina
