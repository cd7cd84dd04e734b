#include "base/escape.h"

#include <gtest/gtest.h>

#include <string>

#include "base/utf8.h"

namespace lamina {
namespace {

TEST(Escape, ControlCharactersAreEscaped) {
  EXPECT_EQ(escaped_line("a\nb\x1b[2Jc\x7f"), "a\\x0ab\\x1b[2Jc\\x7f");
  EXPECT_EQ(escaped_line(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(escaped_value("a\tb"), "a\\x09b");
}

TEST(Escape, TerminalControlsInUtf8AreEscaped) {
  EXPECT_EQ(escaped_line("\xc2\x9b"
                         "31m"),
            "\\xc2\\x9b31m");  // CSI of C1, in UTF-8
  EXPECT_EQ(escaped_line("a\x9b"
                         "b"),
            "a\\x9bb");  // and as a byte
  EXPECT_EQ(escaped_line("\xe2\x80\xae"
                         "txt"),
            "\\xe2\\x80\\xaetxt");                          // right to left
  EXPECT_EQ(escaped_line("\xe2\x80\xa6"), "\xe2\x80\xa6");  // an ellipsis is not a control
}

TEST(Escape, InvalidUtf8IsEscaped) {
  for (const std::string text : {"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80"}) {
    EXPECT_FALSE(is_utf8(text));
    EXPECT_EQ(escaped_line(text).size(), 4 * text.size());
  }
  EXPECT_TRUE(is_utf8("störe € 😀"));
  EXPECT_EQ(escaped_line("a\xffö"), "a\\xffö");
}

TEST(Escape, PrintableTextIsUnchanged) {
  EXPECT_EQ(escaped_line(""), "");
  EXPECT_EQ(escaped_value(""), "");
  EXPECT_EQ(escaped_value("/srv/störe 'x'"), "/srv/störe 'x'");
  const std::string longest(kMaxEscapedValueBytes, 'x');
  EXPECT_EQ(escaped_value(longest), longest);
}

TEST(Escape, LongValueIsCutBetweenCharacters) {
  for (const std::string piece : {"x", "ö", "€", "😀", "\n", "\x80"}) {
    std::string text;
    while (text.size() < 3 * kMaxEscapedValueBytes) text += piece;
    const std::string shown = escaped_value(text);
    EXPECT_LE(shown.size(), kMaxEscapedValueBytes) << piece;
    ASSERT_TRUE(shown.ends_with("...")) << shown;
    const std::string kept = shown.substr(0, shown.size() - 3);
    EXPECT_GT(kept.size(), kMaxEscapedValueBytes - 8) << piece;
    EXPECT_EQ(kept.size() % escaped_line(piece).size(), 0U) << piece;
  }
}

}  // namespace
}  // namespace lamina
