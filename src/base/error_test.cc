#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace lamina {
namespace {

TEST(ErrorTest, KindFollowsFromErrorsThatMeanTheSameInEveryCall) {
  const std::vector<std::pair<int, ErrorKind>> cases{
      {ENOENT, ErrorKind::kNotFound},   {ENOTDIR, ErrorKind::kNotFound},
      {EEXIST, ErrorKind::kExists},     {EACCES, ErrorKind::kPermission},
      {EPERM, ErrorKind::kPermission},  {EROFS, ErrorKind::kPermission},
      {ENOSPC, ErrorKind::kNoSpace},    {EDQUOT, ErrorKind::kNoSpace},
      {EIO, ErrorKind::kFailed},        {EAGAIN, ErrorKind::kFailed},
      {EOPNOTSUPP, ErrorKind::kFailed}, {EMFILE, ErrorKind::kFailed}};
  for (const auto& [error_number, kind] : cases) {
    const Error error = system_error("open", "/s/a", error_number);
    EXPECT_EQ(error.kind, kind) << error_number;
    EXPECT_EQ(error.error_number, error_number);
  }
}

TEST(ErrorTest, ContextKeepsTheRemedyApart) {
  const Error error = with_context(
      "pause",
      with_remedy(fail(ErrorKind::kExists, "'{}' exists", "/s/a"), "set `{}`", "x").error());
  EXPECT_EQ(error.message, "pause: '/s/a' exists");
  EXPECT_EQ(error.remedy, "set `x`");
  EXPECT_EQ(one_line(error), "pause: '/s/a' exists; set `x`");
  EXPECT_EQ(with_remedy(std::unexpected(error), "again").error().remedy, "set `x`; then again");
  EXPECT_EQ(of_kind(ErrorKind::kBusy, std::unexpected(error)).error().kind, ErrorKind::kBusy);
}

}  // namespace
}  // namespace lamina
