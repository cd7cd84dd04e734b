#include "cli/output.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace lamina::cli {
namespace {

TEST(Output, OptionsOfARemedyAreShownAsArguments) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"set `replace`", "set --replace"},
      {"choose another name, or set `layout=compact` and leave out `consume`",
       "choose another name, or set --layout compact and leave out --consume"},
      {"name it with `state_dir`", "name it with --state-dir"},
      {"allow it with `allow_uid=1000`", "allow it with --allow-uid 1000"},
      {"run: lamina recover /s", "run: lamina recover /s"}};
  for (const auto& [remedy, shown] : cases) EXPECT_EQ(with_arguments(remedy), shown);
}

TEST(Output, BackquotesAroundAnythingElseStay) {
  for (const char* text : {"", "`", "``", "`/s/a`", "`a b`", "a `", "`x=/y`", "`=x`", "`a-b`"}) {
    EXPECT_EQ(with_arguments(text), text);
  }
  EXPECT_EQ(with_arguments("`/s/a `full`"), "`/s/a --full");
}

TEST(Output, OptionsOfNotesAreShownAsArgumentsInDocumentsToo) {
  const nlohmann::ordered_json document = {
      {"message_type", "compact"},
      {"path", "`full`"},
      {"notes", {"set `zeros=written`", 7}},
      {"snapshots", {{{"notes", {"set `full`"}}, {"problems", {"set `replace`"}}}}}};
  const nlohmann::ordered_json expected = {
      {"message_type", "compact"},
      {"path", "`full`"},
      {"notes", {"set --zeros written", 7}},
      {"snapshots", {{{"notes", {"set --full"}}, {"problems", {"set --replace"}}}}}};
  EXPECT_EQ(with_arguments_in_notes(document), expected);
}

TEST(Output, ErrorWithoutItsOwnRemedyGetsThatOfAFullDisk) {
  EXPECT_EQ(shown({ErrorKind::kFailed, "it failed"}), "it failed");
  EXPECT_EQ(shown({ErrorKind::kFailed, "it failed", {}, 0, "set `full`"}), "it failed; set --full");
  EXPECT_NE(shown({ErrorKind::kNoSpace, "write '/s/a'"}).find("; free space"), std::string::npos);
}

}  // namespace
}  // namespace lamina::cli
