#include "vmm/firecracker/version.h"

#include <charconv>
#include <system_error>
#include <utility>

#include "base/error.h"

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

constexpr std::pair<std::uint32_t, std::uint32_t> kOldest{1, 7};

/// The first version with a feature: major and minor.
constexpr std::pair<std::uint32_t, std::uint32_t> first_with(Feature feature) {
  switch (feature) {
    case Feature::kNetworkOverrides:
      return {1, 12};
    case Feature::kTrackDirtyPages:
      return {1, 13};
    case Feature::kHotplugMemory:
      return {1, 14};
    case Feature::kVsockOverride:
    case Feature::kClockRealtime:
      return {1, 16};
    case Feature::kLoadHugePages:
      return {1, 17};
  }
  return kOldest;
}

/// True if `version` is `first` or later, or cannot be parsed.
bool is_since(std::string_view version, std::pair<std::uint32_t, std::uint32_t> first) {
  const auto parsed = parse_version(version);
  return !parsed || std::pair(parsed->major, parsed->minor) >= first;
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
  constexpr std::string_view kBeforeSuffix = "-+_.~";
  if (!text.empty() && !kBeforeSuffix.contains(text.front())) return std::nullopt;
  return Version{*major, *minor, *patch, text.empty()};
}

bool writes_correct_large_diffs(const Version& version) {
  constexpr Version kFixed{1, 15, 0, true};
  return version >= kFixed;
}

bool has_feature(std::string_view version, Feature feature) {
  return is_since(version, first_with(feature));
}

Status require_feature(std::string_view version, Feature feature, std::string_view what,
                       std::string_view option) {
  if (has_feature(version, feature)) return {};
  const auto [major, minor] = first_with(feature);
  return with_remedy(
      fail(ErrorKind::kUnsupported, "Firecracker {} does not support {}, which needs {}.{}",
           version, what, major, minor),
      "use a newer Firecracker, or resume without `{}`", option);
}

Status require_supported(std::string_view version) {
  if (is_since(version, kOldest)) return {};
  return with_remedy(
      fail(ErrorKind::kUnsupported,
           "Firecracker {} is older than {}.{}, the oldest version that lamina supports", version,
           kOldest.first, kOldest.second),
      "use a newer one");
}

}  // namespace lamina::vmm
