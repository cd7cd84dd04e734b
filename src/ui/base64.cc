#include "ui/base64.h"

#include <string_view>

namespace lamina::ui {

std::string base64(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  constexpr std::size_t kGroup = 3;
  constexpr unsigned kDigitMask = 0x3f;
  std::string text;
  text.reserve((bytes.size() + kGroup - 1) / kGroup * 4);
  for (std::size_t at = 0; at < bytes.size(); at += kGroup) {
    const std::size_t left = bytes.size() - at;
    const auto byte = [&](std::size_t i) { return i < left ? unsigned{bytes[at + i]} : 0U; };
    const unsigned group = byte(0) << 16U | byte(1) << 8U | byte(2);
    text += kDigits[group >> 18U & kDigitMask];
    text += kDigits[group >> 12U & kDigitMask];
    text += left > 1 ? kDigits[group >> 6U & kDigitMask] : '=';
    text += left > 2 ? kDigits[group & kDigitMask] : '=';
  }
  return text;
}

void append_number(std::vector<std::uint8_t>& bytes, std::uint64_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    bytes.push_back(static_cast<std::uint8_t>(value >> (8U * i)));
  }
}

}  // namespace lamina::ui
