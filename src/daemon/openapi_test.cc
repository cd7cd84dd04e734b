#include "daemon/openapi.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <iterator>
#include <string>

namespace lamina::daemon {
namespace {

// LAMINA_UPDATE_OPENAPI=1 updates the file.
TEST(Openapi, DocumentInDocsIsUpToDate) {
  const std::string path = LAMINA_DOCS "/openapi.json";
  if (::getenv("LAMINA_UPDATE_OPENAPI") != nullptr) {  // NOLINT(concurrency-mt-unsafe)
    std::ofstream(path) << openapi_text();
  }
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_TRUE(text == openapi_text())
      << path << " is stale: LAMINA_UPDATE_OPENAPI=1 build/tests/lamina_tests "
      << "--gtest_filter='Openapi*' updates it";
}

}  // namespace
}  // namespace lamina::daemon
