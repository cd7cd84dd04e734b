#pragma once

#include <cstddef>
#include <string_view>

namespace lamina {

/// Length in bytes of the first character of `text`: 1 to 4. 0 if `text` is empty or does not begin
/// with a valid character (truncated, overlong, a surrogate, beyond U+10FFFF).
std::size_t utf8_length(std::string_view text);

/// True if all of `text` is valid UTF-8. Paths need not be; JSON must be.
bool is_utf8(std::string_view text);

}  // namespace lamina
