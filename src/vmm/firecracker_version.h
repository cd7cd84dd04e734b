// Firecracker's versions, and what depends on them.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string_view>

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

/// Nothing when `text` is no version. A leading "v" is skipped.
std::optional<Version> parse_version(std::string_view text);

/// True when a Diff of a VM whose memory has more than one region (over 3 GiB on x86) is right.
/// Before 1.15 clean pages at the end of a region corrupted it: take a Full there. A 1.15.0 that
/// was not released may be from before the fix, so counts as older.
bool has_diff_of_large_memory_fixed(const Version& version);

}  // namespace lamina::vmm
