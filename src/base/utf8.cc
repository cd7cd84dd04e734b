#include "base/utf8.h"

#include <array>
#include <cstdint>

namespace lamina {

std::size_t utf8_length(std::string_view text) {
  constexpr std::uint32_t kContinuationMask = 0xc0;
  constexpr std::uint32_t kContinuation = 0x80;
  constexpr std::uint32_t kPayload = 0x3f;
  struct Form {
    std::uint32_t mask;   ///< of the first byte
    std::uint32_t bits;   ///< value of the masked bits
    std::uint32_t least;  ///< smaller characters have a shorter form
  };
  constexpr std::array<Form, 4> kForms = {
      {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}}};
  if (text.empty()) return 0;
  const auto byte = [&](std::size_t i) {
    return std::uint32_t{static_cast<unsigned char>(text[i])};
  };
  std::size_t length = 0;
  for (const Form& form : kForms) {
    ++length;
    if ((byte(0) & form.mask) != form.bits) continue;
    if (text.size() < length) return 0;
    std::uint32_t character = byte(0) & ~form.mask;
    for (std::size_t i = 1; i < length; ++i) {
      if ((byte(i) & kContinuationMask) != kContinuation) return 0;
      character = character << 6U | (byte(i) & kPayload);
    }
    const bool is_surrogate = character >= 0xd800 && character <= 0xdfff;
    return character < form.least || is_surrogate || character > 0x10ffff ? 0 : length;
  }
  return 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace lamina
