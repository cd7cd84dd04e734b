// Firecracker versions, and the features that depend on them.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lamina/result.h"

namespace lamina::vmm {

/// A version from `GET /`: "1.12.1", "1.15.0-dev". A version with a suffix is older than the same
/// one without.
struct Version {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint32_t patch = 0;
  bool is_release = true;  ///< false when there is a suffix

  friend constexpr auto operator<=>(const Version&, const Version&) = default;
};

/// nullopt if `text` is not a version. A leading "v" is ignored. A suffix may follow the three
/// numbers if it begins with one of "-+_.~", as in custom builds ("1.12.1_d990331").
std::optional<Version> parse_version(std::string_view text);

/// True if Diffs are correct for a VM whose memory has more than one region (over 3 GiB on x86).
/// Before 1.15, clean pages at the end of a region corrupted them: take a Full instead. An
/// unreleased 1.15.0 may lack the fix and counts as older.
bool writes_correct_large_diffs(const Version& version);

/// Features of later API versions. Earlier versions refuse requests with unknown fields, and a
/// refused load may end the process.
enum class Feature : std::uint8_t {
  kNetworkOverrides,  ///< network_overrides of a load
  kTrackDirtyPages,   ///< track_dirty_pages of a load, formerly enable_diff_snapshots
  kHotplugMemory,     ///< GET /hotplug/memory
  kVsockOverride,     ///< vsock_override of a load
  kClockRealtime,     ///< clock_realtime of a load
  kLoadHugePages,     ///< huge_pages of a load
};

/// Whether the Firecracker with this version string has a feature. Pre-release builds and versions
/// that cannot be parsed are assumed to have it.
bool has_feature(std::string_view version, Feature feature);

/// Success if it has the feature. Otherwise kUnsupported names the version that `what` needs, for
/// example "another vsock path", and the option that asks for it.
Status require_feature(std::string_view version, Feature feature, std::string_view what,
                       std::string_view option);

/// kUnsupported if the version is older than 1.7, the oldest that lamina supports: earlier ones do
/// not send the VM's page size to the page server.
Status require_supported(std::string_view version);

}  // namespace lamina::vmm
