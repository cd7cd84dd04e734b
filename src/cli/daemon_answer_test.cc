#include "cli/daemon_answer.h"

#include <gtest/gtest.h>

namespace lamina::cli {
namespace {

constexpr const char* kRecovered =
    R"({"message_type":"recover","dry_run":false,"completed":2,"discarded":0,"queued":0,"released_pins":0,)"
    R"("removed_maps":0,"resumed_vms":0,"foreign":0,"adopted":0,"removed_arrivals":0,"arrivals":[],"notes":["'/srv/store/a' was completed"]})";

DaemonReply<schema::RecoverAnswer> read(unsigned status, const std::string& body) {
  return AnswerReader("store").read<schema::RecoverAnswer>(status, body);
}

/// Nested lists, deeper than a stack has room for one call each.
std::string nested() {
  constexpr std::size_t kDepth = 1'000'000;
  return std::string(kDepth, '[') + std::string(kDepth, ']');
}

TEST(DaemonAnswer, ReportIsRead) {
  const auto reply = read(200, kRecovered);
  ASSERT_TRUE(reply);
  ASSERT_TRUE(*reply) << reply->error().message;
  EXPECT_EQ((*reply)->report.completed, 2U);
  EXPECT_EQ((*reply)->report.notes, std::vector<std::string>{"'/srv/store/a' was completed"});
}

TEST(DaemonAnswer, ErrorIsRead) {
  const auto reply =
      read(409, R"({"error":{"kind":"busy","message":"'/srv/store/a' is busy","notes":[]}})");
  ASSERT_TRUE(reply);
  ASSERT_FALSE(*reply);
  EXPECT_EQ(reply->error().kind, ErrorKind::kBusy);
  EXPECT_EQ(reply->error().message, "'/srv/store/a' is busy");
}

TEST(DaemonAnswer, RefusalBeforeTheStartIsAnEmptyReply) {
  EXPECT_FALSE(read(403, ""));
  EXPECT_FALSE(read(413, "{}"));
  EXPECT_FALSE(read(421, nested()));
  EXPECT_FALSE(read(503, R"({"error":{"kind":"busy","message":"","stopping":true}})"));
  EXPECT_TRUE(read(503, R"({"error":{"kind":"busy","message":"","stopping":1}})"));
  EXPECT_TRUE(read(503, R"({"error":true})"));
}

TEST(DaemonAnswer, MalformedReplyIsAnErrorThatNamesLs) {
  for (const auto& [status, body] :
       std::vector<std::pair<unsigned, std::string>>{{200, ""},
                                                     {200, "[]"},
                                                     {200, R"({"message_type":"pause"})"},
                                                     {500, kRecovered},
                                                     {500, R"({"error":{"kind":1,"message":"x"}})"},
                                                     {0, R"({"error":[]})"}}) {
    const auto reply = read(status, body);
    ASSERT_TRUE(reply) << body;
    ASSERT_FALSE(*reply) << body;
    EXPECT_EQ(reply->error().kind, ErrorKind::kFailed) << body;
    EXPECT_NE(reply->error().message.find("see 'lamina ls store'"), std::string::npos) << body;
  }
}

TEST(DaemonAnswer, DeepNestingDoesNotOverflowTheStack) {
  const std::string deep = nested();
  for (const std::string& body :
       {deep, R"({"error":)" + deep + "}", R"({"error":{"stopping":)" + deep + "}}",
        R"({"message_type":"recover","notes":)" + deep + "}",
        R"({"error":{"kind":"busy","message":"x","notes":)" + deep + "}}"}) {
    for (const unsigned status : {200U, 500U, 503U}) {
      const auto reply = read(status, body);
      ASSERT_TRUE(reply);
      EXPECT_FALSE(*reply);
    }
  }
}

}  // namespace
}  // namespace lamina::cli
