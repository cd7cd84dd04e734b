#include "daemon/settings.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "scratch_directory.h"

namespace lamina::daemon {
namespace {

class SettingsTest : public testing::Test {
 protected:
  /// The settings of a file with that text.
  Result<Settings> read(const std::string& text) {
    std::ofstream(file_) << text;
    GivenOptions given;
    given.config = file_;
    return settings_of(given);
  }

  /// The error of a file that must be refused as wrong usage.
  Error refused(const std::string& text) {
    const auto settings = read(text);
    if (settings) return {ErrorKind::kFailed, "the file is accepted"};
    EXPECT_EQ(settings.error().kind, ErrorKind::kUsage);
    return settings.error();
  }

  tests::ScratchDirectory directory_;
  std::string file_ = directory_.file("laminad.json");
};

TEST_F(SettingsTest, UnknownOptionIsRefusedWithAListOfThoseThatExist) {
  const Error error = refused(R"({"store": "/s", "listen": "unix:/l", "polcy": "off"})");
  EXPECT_EQ(error.message, file_ + ": 'polcy' is not an option");
  EXPECT_TRUE(error.remedy.contains("policy, rate, recover_interval")) << error.remedy;
}

TEST_F(SettingsTest, SyntaxErrorIsRefusedWithItsPlace) {
  EXPECT_EQ(refused("{\n  \"store\": \"/s\"\n  \"listen\": 1}").message,
            "'" + file_ + "' is not JSON at line 3, column 10");
  EXPECT_EQ(refused("").message, "'" + file_ + "' is not JSON at line 1, column 1");
  EXPECT_EQ(refused("[1]").message, "'" + file_ + "' is not a JSON object: it must begin with '{'");
}

TEST_F(SettingsTest, PushOptionsAreRead) {
  const auto settings = read(R"({"store": "/s", "listen": "unix:/l", "push": "file:///bucket",
      "push_names": "web-*", "push_parallel": 3, "push_rate": 1000, "push_retry": 7,
      "cache_bytes": 0})");
  ASSERT_TRUE(settings) << settings.error().message;
  PushSettings expected;
  expected.url = "file:///bucket";
  expected.cache_bytes = 0;
  expected.names = "web-*";
  expected.parallel = 3;
  expected.rate_limit_bytes_s = 1000;
  expected.longest_delay = std::chrono::seconds(7);
  EXPECT_EQ(settings->push, expected);
  EXPECT_TRUE(refused(R"({"store": "/s", "listen": "unix:/l", "push_key_file": "/k",
      "push_key_command": "true"})")
                  .message.contains("exclude each other"));
}

TEST_F(SettingsTest, OptionsThatAHangupDoesNotChangeAreNamed) {
  const auto running = read(R"({"store": "/s", "listen": "unix:/l", "workers": 2})");
  const auto fresh =
      read(R"({"store": "/s", "listen": "unix:/m", "workers": 3, "policy": "off", "rate": 7})");
  ASSERT_TRUE(running && fresh);
  EXPECT_EQ(changes_that_need_a_restart(*running, *fresh),
            (std::vector<std::string>{"listen", "workers"}));
  EXPECT_TRUE(changes_that_need_a_restart(*running, *running).empty());
}

}  // namespace
}  // namespace lamina::daemon
