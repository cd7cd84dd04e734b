#include "vmm/firecracker_version.h"

#include <charconv>
#include <system_error>

namespace lamina::vmm {
namespace {

/// Takes a decimal number from the front of `text`.
std::optional<std::uint32_t> take_number(std::string_view& text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

bool take_dot(std::string_view& text) {
  if (!text.starts_with('.')) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::optional<Version> parse_version(std::string_view text) {
  if (text.starts_with('v')) text.remove_prefix(1);
  const auto major = take_number(text);
  if (!major || !take_dot(text)) return std::nullopt;
  const auto minor = take_number(text);
  if (!minor || !take_dot(text)) return std::nullopt;
  const auto patch = take_number(text);
  if (!patch) return std::nullopt;
  if (!text.empty() && !text.starts_with('-') && !text.starts_with('+')) return std::nullopt;
  return Version{*major, *minor, *patch, text.empty()};
}

bool has_diff_of_large_memory_fixed(const Version& version) {
  constexpr Version kFixed{1, 15, 0, true};
  return version >= kFixed;
}

}  // namespace lamina::vmm
