// Texts from outside as they stand in a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lamina {

/// `text` on one line: control characters, which a path may hold, are written as \xNN.
std::string shown_line(std::string_view text);

/// What shown_value() gives has at most so many bytes.
inline constexpr std::size_t kMaxShownValueBytes = 256;

/// The same, of a value of any length: a long one is cut, not within a character of UTF-8, and ends
/// with "...".
std::string shown_value(std::string_view text);

}  // namespace lamina
