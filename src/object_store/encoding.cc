#include "object_store/encoding.h"

#include <array>
#include <charconv>
#include <cstddef>

namespace lamina::object_store {
namespace {

constexpr std::string_view kHexDigits = "0123456789ABCDEF";

bool is_unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

std::string encoded(std::string_view text, bool keeps_slashes) {
  std::string result;
  result.reserve(text.size() + text.size() / 4);
  for (const char c : text) {
    if (is_unreserved(c) || (keeps_slashes && c == '/')) {
      result += c;
      continue;
    }
    const auto value = static_cast<unsigned char>(c);
    result += '%';
    result += kHexDigits[value >> 4U];
    result += kHexDigits[value & 15U];
  }
  return result;
}

/// The number that `count` digits at `position` are; nullopt if they are not all digits.
std::optional<int> digits_at(std::string_view text, std::size_t position, std::size_t count) {
  if (position + count > text.size()) return std::nullopt;
  int value = 0;
  for (const char c : text.substr(position, count)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

std::optional<std::chrono::sys_days> day_of(std::optional<int> year, std::optional<int> month,
                                            std::optional<int> day) {
  if (!year || !month || !day) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days(date);
}

/// `date` and the "hh:mm:ss" at `position`.
std::optional<std::chrono::sys_seconds> with_time(std::optional<std::chrono::sys_days> date,
                                                  std::string_view text, std::size_t position) {
  const auto hour = digits_at(text, position, 2);
  const auto minute = digits_at(text, position + 3, 2);
  const auto second = digits_at(text, position + 6, 2);
  if (!date || !hour || !minute || !second) return std::nullopt;
  if (text[position + 2] != ':' || text[position + 5] != ':') return std::nullopt;
  if (*hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  return *date + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second);
}

std::optional<int> month_of(std::string_view name) {
  static constexpr std::array<std::string_view, 12> kMonths = {
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  for (std::size_t i = 0; i < kMonths.size(); ++i) {
    if (kMonths.at(i) == name) return static_cast<int>(i) + 1;
  }
  return std::nullopt;
}

}  // namespace

std::string percent_encoded(std::string_view text) { return encoded(text, false); }

std::string percent_encoded_path(std::string_view path) { return encoded(path, true); }

std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += plus_is_space && text[i] == '+' ? ' ' : text[i];
      continue;
    }
    unsigned value = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || parsed.ec != std::errc() ||
        parsed.ptr != digits.data() + digits.size()) {
      return std::nullopt;
    }
    result += static_cast<char>(value);
    i += 2;
  }
  return result;
}

std::optional<std::chrono::sys_seconds> time_of_http(std::string_view text) {
  // "Wed, 21 Oct 2015 07:28:00 GMT"
  if (text.size() != 29 || text.substr(25) != " GMT" || text[3] != ',') return std::nullopt;
  const auto date =
      day_of(digits_at(text, 12, 4), month_of(text.substr(8, 3)), digits_at(text, 5, 2));
  return with_time(date, text, 17);
}

std::optional<std::chrono::sys_seconds> time_of_iso8601(std::string_view text) {
  // "2015-10-21T07:28:00" and ".000Z" or "Z"
  if (text.size() < 20 || text.back() != 'Z' || text[10] != 'T') return std::nullopt;
  if (text.size() > 20 && text[19] != '.') return std::nullopt;
  const auto date = day_of(digits_at(text, 0, 4), digits_at(text, 5, 2), digits_at(text, 8, 2));
  return with_time(date, text, 11);
}

}  // namespace lamina::object_store
