#include <gtest/gtest.h>

#include "manual/completions.h"
#include "manual/man_page.h"
#include "manual/program.h"

namespace lamina::manual {
namespace {

/// A program with a verb that has one option of each kind.
class Manual : public ::testing::Test {
 protected:
  Manual() : app_("tool keeps things", "tool") {
    app_.footer(
        "First line\nand 'tool --all', a well-known one.\n\nExit codes: 0 done, 3 not found, or "
        "none.");
    CLI::App* verb = app_.add_subcommand("take", "takes a file: it's there");
    verb->add_option("FILE", file_, "what to take")->required();
    verb->add_option("--kind", kind_, "how")->option_text("full|diff");
    verb->add_option("--name", name_, "of it")->option_text("NAME");
    verb->add_option("--uid", uids_, "who")->allow_extra_args(false)->option_text("UID");
    verb->add_flag("--all", all_, "everything");
  }

  [[nodiscard]] Program program() const { return read_program(app_); }

 private:
  CLI::App app_;
  std::string file_;
  std::string kind_;
  std::string name_;
  std::vector<std::string> uids_;
  bool all_ = false;
};

TEST_F(Manual, OptionsAndTextsOfTheApplicationAreRead) {
  const Program read = program();
  EXPECT_EQ(read.command.paragraphs,
            std::vector<std::string>{"First line and 'tool --all', a well-known one."});
  const std::vector<std::pair<std::string, std::string>> codes = {{"0", "done"},
                                                                  {"3", "not found, or none"}};
  EXPECT_EQ(read.command.exit_codes, codes);
  ASSERT_EQ(read.verbs.size(), 1U);
  const Command& verb = read.verbs.front();
  ASSERT_EQ(verb.positionals.size(), 1U);
  EXPECT_TRUE(verb.positionals.front().is_required);
  EXPECT_EQ(verb.positionals.front().value.kind, ValueKind::kFile);
  ASSERT_EQ(verb.options.size(), 5U);  // --help is the first
  EXPECT_EQ(verb.options[1].value.choices, (std::vector<std::string>{"full", "diff"}));
  EXPECT_EQ(verb.options[2].value.kind, ValueKind::kName);
  EXPECT_FALSE(verb.options[2].is_repeatable);
  EXPECT_TRUE(verb.options[3].is_repeatable);
  EXPECT_FALSE(verb.options[4].takes_value);
}

TEST_F(Manual, TroffCommandsInTextAreEscaped) {
  const Program read = program();
  const std::string page = program_page(read, "1", {"1.2", "2026-12-01"});
  EXPECT_NE(page.find(".TH TOOL 1 2026-12-01"), std::string::npos);
  EXPECT_NE(page.find("tool \\- keeps things\n"), std::string::npos);
  EXPECT_NE(page.find("\\(aqtool \\fB\\-\\-all\\fR\\(aq, a well-known one."), std::string::npos);
  const std::string verb = verb_page(read, read.verbs.front(), {"1.2", "2026-12-01"});
  EXPECT_NE(verb.find("\\fB\\-\\-kind\\fR \\fBfull\\fR|\\fBdiff\\fR\nhow\n"), std::string::npos);
  EXPECT_NE(verb.find("takes a file: it\\(aqs there"), std::string::npos);
}

TEST_F(Manual, DescriptionsAreQuotedInCompletions) {
  const Program read = program();
  EXPECT_NE(zsh_completion(read).find("'take:takes a file\\: it'\\''s there'"), std::string::npos);
  EXPECT_NE(fish_completion(read).find("-d 'takes a file: it\\'s there'"), std::string::npos);
  EXPECT_NE(bash_completion(read).find("--kind) _tool_words 'full diff'; return ;;"),
            std::string::npos);
}

}  // namespace
}  // namespace lamina::manual
