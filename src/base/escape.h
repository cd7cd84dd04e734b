// Escapes untrusted text (file names, file contents, replies of other processes) for messages, so
// that none of it acts on a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lamina {

/// `text` on one line. These bytes are written as \xNN: control characters, including C1 (0x9b of
/// ISO 6429 is "ESC ["); characters that change the text direction; bytes that are not UTF-8.
std::string escaped_line(std::string_view text);

/// Maximum length of the result of escaped_value().
inline constexpr std::size_t kMaxEscapedValueBytes = 256;

/// The same for a value of any length. A long one is cut between UTF-8 characters and ends with
/// "...".
std::string escaped_value(std::string_view text);

}  // namespace lamina
