#pragma once

#include <cstddef>
#include <string_view>

namespace lamina {

/// The bytes of the character that `text` begins with: 1 to 4. 0 when it begins with none: cut,
/// longer than needed, a surrogate, beyond U+10FFFF, or empty.
std::size_t utf8_length(std::string_view text);

/// True when all of `text` is UTF-8. Paths need not be; JSON must.
bool is_utf8(std::string_view text);

}  // namespace lamina
