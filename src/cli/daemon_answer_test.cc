#include "cli/daemon_answer.h"

#include <gtest/gtest.h>

namespace lamina::cli {
namespace {

constexpr const char* kRecovered =
    R"({"message_type":"recover","dry_run":false,"completed":2,"discarded":0,"queued":0,"released_pins":0,)"
    R"("removed_maps":0,"resumed_vms":0,"foreign":0,"adopted":0,"notes":["'/srv/store/a' was completed"]})";

Asked<schema::RecoverAnswer> read(unsigned status, const std::string& body) {
  return AnswerReader("store").read<schema::RecoverAnswer>(status, body);
}

/// A list in a list in a list, so deep that no stack holds a call for each.
std::string nested() {
  constexpr std::size_t kDepth = 1'000'000;
  return std::string(kDepth, '[') + std::string(kDepth, ']');
}

TEST(DaemonAnswer, ReportOfAnAnswerIsRead) {
  const auto asked = read(200, kRecovered);
  ASSERT_TRUE(asked);
  ASSERT_TRUE(*asked) << asked->error().message;
  EXPECT_EQ((*asked)->report.completed, 2U);
  EXPECT_EQ((*asked)->report.notes, std::vector<std::string>{"'/srv/store/a' was completed"});
}

TEST(DaemonAnswer, ErrorOfAnAnswerIsRead) {
  const auto asked =
      read(409, R"({"error":{"kind":"busy","message":"'/srv/store/a' is busy","notes":[]}})");
  ASSERT_TRUE(asked);
  ASSERT_FALSE(*asked);
  EXPECT_EQ(asked->error().kind, ErrorKind::kBusy);
  EXPECT_EQ(asked->error().message, "'/srv/store/a' is busy");
}

TEST(DaemonAnswer, RefusalBeforeAnythingWasBegunIsNotAnAnswer) {
  EXPECT_FALSE(read(403, ""));
  EXPECT_FALSE(read(413, "{}"));
  EXPECT_FALSE(read(421, nested()));
  EXPECT_FALSE(read(503, R"({"error":{"kind":"busy","message":"","stopping":true}})"));
  EXPECT_TRUE(read(503, R"({"error":{"kind":"busy","message":"","stopping":1}})"));
  EXPECT_TRUE(read(503, R"({"error":true})"));
}

TEST(DaemonAnswer, AnswerThatIsNotUnderstoodIsAnErrorThatSaysWhereToLook) {
  for (const auto& [status, body] : std::vector<std::pair<unsigned, std::string>>{
           {200, ""},
           {200, "[]"},
           {200, R"({"message_type":"pause"})"},
           {500, kRecovered},
           {500, R"({"error":{"kind":"odd","message":"x"}})"},
           {0, R"({"error":[]})"}}) {
    const auto asked = read(status, body);
    ASSERT_TRUE(asked) << body;
    ASSERT_FALSE(*asked) << body;
    EXPECT_EQ(asked->error().kind, ErrorKind::kFailed) << body;
    EXPECT_NE(asked->error().message.find("see 'lamina ls store'"), std::string::npos) << body;
  }
}

TEST(DaemonAnswer, DeepNestingDoesNotOverflowTheStack) {
  const std::string deep = nested();
  for (const std::string& body :
       {deep, R"({"error":)" + deep + "}", R"({"error":{"stopping":)" + deep + "}}",
        R"({"message_type":"recover","notes":)" + deep + "}",
        R"({"error":{"kind":"busy","message":"x","notes":)" + deep + "}}"}) {
    for (const unsigned status : {200U, 500U, 503U}) {
      const auto asked = read(status, body);
      ASSERT_TRUE(asked);
      EXPECT_FALSE(*asked);
    }
  }
}

}  // namespace
}  // namespace lamina::cli
