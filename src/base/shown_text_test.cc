#include "base/shown_text.h"

#include <gtest/gtest.h>

namespace lamina {
namespace {

TEST(ShownText, ControlCharactersAreWrittenOut) {
  EXPECT_EQ(shown_line("a\nb\x1b[2Jc\x7f"), "a\\x0ab\\x1b[2Jc\\x7f");
  EXPECT_EQ(shown_line(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(shown_value("a\tb"), "a\\x09b");
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
    if (piece == "\x80") continue;  // no character at all
    EXPECT_GT(kept.size(), kMaxShownValueBytes - 8) << piece;
    EXPECT_EQ(kept.size() % shown_line(piece).size(), 0U) << piece;
  }
}

}  // namespace
}  // namespace lamina
