#include "base/shown_text.h"

#include <gtest/gtest.h>

#include <string>

#include "base/utf8.h"

namespace lamina {
namespace {

TEST(ShownText, ControlCharactersAreWrittenOut) {
  EXPECT_EQ(shown_line("a\nb\x1b[2Jc\x7f"), "a\\x0ab\\x1b[2Jc\\x7f");
  EXPECT_EQ(shown_line(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(shown_value("a\tb"), "a\\x09b");
}

TEST(ShownText, WhatATerminalMayTakeForACommandIsWrittenOut) {
  EXPECT_EQ(shown_line("\xc2\x9b"
                       "31m"),
            "\\xc2\\x9b31m");  // CSI of C1, in UTF-8
  EXPECT_EQ(shown_line("a\x9b"
                       "b"),
            "a\\x9bb");  // and as a byte
  EXPECT_EQ(shown_line("\xe2\x80\xae"
                       "txt"),
            "\\xe2\\x80\\xaetxt");                        // right to left
  EXPECT_EQ(shown_line("\xe2\x80\xa6"), "\xe2\x80\xa6");  // an ellipsis is none
}

TEST(ShownText, WhatIsNotUtf8IsWrittenOut) {
  for (const std::string text : {"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80"}) {
    EXPECT_FALSE(is_utf8(text));
    EXPECT_EQ(shown_line(text).size(), 4 * text.size());
  }
  EXPECT_TRUE(is_utf8("störe € 😀"));
  EXPECT_EQ(shown_line("a\xffö"), "a\\xffö");
}

TEST(ShownText, TheRestStaysAsItIs) {
  EXPECT_EQ(shown_line(""), "");
  EXPECT_EQ(shown_value(""), "");
  EXPECT_EQ(shown_value("/srv/störe 'x'"), "/srv/störe 'x'");
  const std::string longest(kMaxShownValueBytes, 'x');
  EXPECT_EQ(shown_value(longest), longest);
}

TEST(ShownText, ALongValueIsCut) {
  for (const std::string piece : {"x", "ö", "€", "😀", "\n", "\x80"}) {
    std::string text;
    while (text.size() < 3 * kMaxShownValueBytes) text += piece;
    const std::string shown = shown_value(text);
    EXPECT_LE(shown.size(), kMaxShownValueBytes) << piece;
    ASSERT_TRUE(shown.ends_with("...")) << shown;
    const std::string kept = shown.substr(0, shown.size() - 3);
    EXPECT_GT(kept.size(), kMaxShownValueBytes - 8) << piece;
    EXPECT_EQ(kept.size() % shown_line(piece).size(), 0U) << piece;
  }
}

}  // namespace
}  // namespace lamina
