#include "ui/page.h"

#include <gtest/gtest.h>

#include "ui/base64.h"
#include "ui/loopback.h"
#include "ui/snapshot_model.h"

namespace lamina::ui {
namespace {

TEST(ConsolePage, TextCannotBecomeMarkup) {
  EXPECT_EQ(html_text("<b a=\"x\" c='y'>&amp;"),
            "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;amp;");
  EXPECT_EQ(html_text("a\x1b[31m\n\u202e"), "a\\x1b[31m\\x0a\\xe2\\x80\\xae");
}

TEST(ConsolePage, DataOfAReportCannotEndItsElement) {
  const std::string page = report_page("t", R"({"a":"</script><script>x"})", "");
  EXPECT_EQ(page.find("</script><script>x"), std::string::npos);
  EXPECT_NE(page.find(R"({"a":"\u003c/script>\u003cscript>x"})"), std::string::npos);
}

TEST(ConsolePage, EachReportHasANonceOfItsOwn) {
  EXPECT_NE(report_page("t", "{}", ""), report_page("t", "{}", ""));
}

TEST(Base64, HasPadding) {
  const std::vector<std::uint8_t> bytes = {'f', 'o', 'o', 0xff};
  EXPECT_EQ(base64(std::span(bytes).first(0)), "");
  EXPECT_EQ(base64(std::span(bytes).first(1)), "Zg==");
  EXPECT_EQ(base64(std::span(bytes).first(2)), "Zm8=");
  EXPECT_EQ(base64(std::span(bytes).first(3)), "Zm9v");
  EXPECT_EQ(base64(bytes), "Zm9v/w==");
}

TEST(LoopbackAddress, IsALoopbackAddressWithAPort) {
  EXPECT_EQ(parse_loopback("127.0.0.1:80")->port, 80);
  EXPECT_EQ(parse_loopback("localhost:0")->port, 0);
  EXPECT_TRUE(parse_loopback("[::1]:65535")->is_ipv6);
  for (const char* text : {"", "0.0.0.0:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:-1",
                           "127.0.0.1:65536", "[::]:80", "127.0.0.1:80x", "localhost:80 "}) {
    EXPECT_EQ(parse_loopback(text).error().kind, ErrorKind::kUsage) << text;
  }
}

TEST(ConsoleSnapshot, NamesStayInTheStore) {
  EXPECT_EQ(*path_of_snapshot("/s", "web-1"), "/s/web-1");
  for (const char* name : {"", ".", "..", ".vms", "a/b", "/etc", "../s"}) {
    EXPECT_EQ(path_of_snapshot("/s", name).error().kind, ErrorKind::kUsage) << name;
  }
}

}  // namespace
}  // namespace lamina::ui
