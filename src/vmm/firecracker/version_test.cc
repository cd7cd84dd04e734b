#include "vmm/firecracker/version.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <utility>

namespace lamina::vmm {
namespace {

TEST(FirecrackerVersionTest, ReleasesAndPreReleasesAreParsed) {
  EXPECT_EQ(parse_version("1.12.3"), (Version{1, 12, 3, true}));
  EXPECT_EQ(parse_version("v1.12.3"), (Version{1, 12, 3, true}));
  EXPECT_EQ(parse_version("1.15.0-dev"), (Version{1, 15, 0, false}));
  EXPECT_EQ(parse_version("1.15.0+local"), (Version{1, 15, 0, false}));
  EXPECT_EQ(parse_version("v1.12.1_d990331"), (Version{1, 12, 1, false}));
}

TEST(FirecrackerVersionTest, MalformedVersionIsRejected) {
  for (const char* text : {"", "v", "1", "1.", "1.15", "1.15.", "1.15.x", "1.15.0dev", "-1.2.3",
                           " 1.2.3", "1.2.3 ", "1.2.4294967296", "1..2"}) {
    EXPECT_FALSE(parse_version(text)) << text;
  }
}

TEST(FirecrackerVersionTest, NumbersAreComparedAsNumbers) {
  EXPECT_LT(*parse_version("1.9.9"), *parse_version("1.10.0"));
  EXPECT_LT(*parse_version("1.15.0-dev"), *parse_version("1.15.0"));
  EXPECT_LT(*parse_version("1.15.9"), *parse_version("2.0.0-dev"));
}

TEST(FirecrackerVersionTest, LargeDiffsAreCorrectSinceTheFixedRelease) {
  for (const char* text : {"1.14.1", "1.9.0", "0.25.0", "1.15.0-dev"}) {
    EXPECT_FALSE(writes_correct_large_diffs(*parse_version(text))) << text;
  }
  for (const char* text : {"1.15.0", "1.15.1", "1.16.0-dev", "2.0.0"}) {
    EXPECT_TRUE(writes_correct_large_diffs(*parse_version(text))) << text;
  }
}

TEST(FirecrackerVersionTest, FeaturesDependOnTheVersion) {
  constexpr std::array<std::pair<Feature, std::array<const char*, 2>>, 6> kFirstAndLastWithout{
      {{Feature::kNetworkOverrides, {"1.12.0", "1.11.9"}},
       {Feature::kTrackDirtyPages, {"1.13.0", "1.12.1"}},
       {Feature::kHotplugMemory, {"1.14.0", "1.13.1"}},
       {Feature::kVsockOverride, {"1.16.0", "1.15.1"}},
       {Feature::kClockRealtime, {"1.16.0", "1.15.1"}},
       {Feature::kLoadHugePages, {"1.17.0", "1.16.2"}}}};
  for (const auto& [feature, versions] : kFirstAndLastWithout) {
    EXPECT_TRUE(has_feature(versions[0], feature)) << versions[0];
    EXPECT_TRUE(has_feature(std::string(versions[0]) + "-dev", feature)) << versions[0];
    EXPECT_TRUE(has_feature("2.0.0", feature));
    EXPECT_TRUE(has_feature("a fork's own", feature));
    EXPECT_FALSE(has_feature(versions[1], feature)) << versions[1];
  }
  const auto require = [](const char* version) {
    return require_feature(version, Feature::kVsockOverride, "another vsock path",
                           "vsock_override");
  };
  EXPECT_TRUE(require("1.16.0"));
  const Error refused = require("1.15.1").error();
  EXPECT_EQ(refused.kind, ErrorKind::kUnsupported);
  EXPECT_EQ(refused.message,
            "Firecracker 1.15.1 does not support another vsock path, which needs 1.16");
  EXPECT_EQ(refused.remedy, "use a newer Firecracker, or resume without `vsock_override`");
}

TEST(FirecrackerVersionTest, VersionsFrom1_7OnAreSupported) {
  for (const char* text : {"1.7.0", "1.7.0-dev", "1.17.0", "2.0.0", "a fork's own"}) {
    EXPECT_TRUE(require_supported(text)) << text;
  }
  for (const char* text : {"1.6.9", "0.25.2"}) EXPECT_FALSE(require_supported(text)) << text;
}

}  // namespace
}  // namespace lamina::vmm
