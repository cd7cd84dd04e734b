// Texts from outside (file names, contents of files, answers of other processes) as they stand in a
// message. A terminal must not take any of it for a command.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lamina {

/// `text` on one line. Written as \xNN, byte by byte, are: control characters, also those of C1
/// (0x9b of ISO 6429 is "ESC ["); the characters that turn the direction of writing; what is not
/// UTF-8.
std::string shown_line(std::string_view text);

/// What shown_value() gives has at most so many bytes.
inline constexpr std::size_t kMaxShownValueBytes = 256;

/// The same, of a value of any length: a long one is cut, not within a character of UTF-8, and ends
/// with "...".
std::string shown_value(std::string_view text);

}  // namespace lamina
