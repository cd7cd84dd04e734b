// Firecracker's versions, and what depends on them.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lamina/result.h"

namespace lamina::vmm {

/// A version as `GET /` tells it: "1.12.1", "1.15.0-dev". A version with a suffix comes before the
/// same without.
struct Version {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint32_t patch = 0;
  bool is_release = true;  ///< false when there is a suffix

  friend constexpr auto operator<=>(const Version&, const Version&) = default;
};

/// Nothing when `text` is no version. A leading "v" is skipped; behind the three numbers a suffix
/// may follow that begins with one of "-+_.~", as builds of one's own have it ("1.12.1_d990331").
std::optional<Version> parse_version(std::string_view text);

/// True when a Diff of a VM whose memory has more than one region (over 3 GiB on x86) is right.
/// Before 1.15 clean pages at the end of a region corrupted it: take a Full there. A 1.15.0 that
/// was not released may be from before the fix, so counts as older.
bool writes_correct_large_diffs(const Version& version);

/// What later versions of the API know. Earlier ones refuse a request with a field that they do not
/// know, and a load that is refused may end the process.
enum class Feature : std::uint8_t {
  kNetworkOverrides,  ///< network_overrides of a load
  kTrackDirtyPages,   ///< track_dirty_pages of a load; before it is enable_diff_snapshots
  kHotplugMemory,     ///< GET /hotplug/memory
  kVsockOverride,     ///< vsock_override of a load
  kClockRealtime,     ///< clock_realtime of a load
  kLoadHugePages,     ///< huge_pages of a load
};

/// Whether the Firecracker that calls itself `version` has it. Builds from before the release of a
/// version, and versions that cannot be read, are taken to have what the version has.
bool has_feature(std::string_view version, Feature feature);

/// Success when it has. Else kFailed says since when there is `what`, for example "another vsock
/// path (--vsock-override)", and what to do.
Status require_feature(std::string_view version, Feature feature, std::string_view what);

/// kFailed when it is older than 1.7, the oldest that lamina works with: those before do not tell
/// the page server how large the VM's pages are.
Status require_supported(std::string_view version);

}  // namespace lamina::vmm
