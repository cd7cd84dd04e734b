#include "pager/regions.h"

#include <gtest/gtest.h>

namespace lamina::pager {
namespace {

constexpr std::uint64_t kMemory = 64 * 4096;

std::string error_of(const std::string& json) {
  const auto table = RegionTable::decode(json, kMemory);
  return table ? "accepted" : table.error().message;
}

TEST(Regions, FirecrackerHandshakeIsDecoded) {
  const auto table = RegionTable::decode(
      R"([{"base_host_virt_addr":8192,"size":131072,"offset":131072,"page_size":4096,
           "page_size_kib":4096,"new_key":[1]},
          {"base_host_virt_addr":1048576,"size":131072,"offset":0,"page_size_kib":4096}])",
      kMemory);
  ASSERT_TRUE(table) << table.error().message;
  ASSERT_EQ(table->regions().size(), 2);
  EXPECT_EQ(table->find(8191), nullptr);
  EXPECT_EQ(table->find(8192)->memory_offset, 131072);
  EXPECT_EQ(table->find(8192 + 131072), nullptr);
  EXPECT_EQ(table->find(1048576 + 5)->memory_offset, 0);
}

TEST(Regions, PageSizeTakesPrecedenceOverItsOldName) {
  const auto table = RegionTable::decode(
      R"([{"base_host_virt_addr":0,"size":4096,"offset":0,"page_size":4096,"page_size_kib":7}])",
      kMemory);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->regions()[0].page_bytes, 4096);
}

TEST(Regions, RegionsSharingMemoryAreRejected) {
  EXPECT_NE(error_of(R"([{"base_host_virt_addr":0,"size":8192,"offset":4096,"page_size":4096},
                         {"base_host_virt_addr":65536,"size":8192,"offset":0,"page_size":4096}])")
                .find("share memory at 0x1000"),
            std::string::npos);
}

TEST(Regions, InvalidRegionsAreRejected) {
  const auto region = [](const char* address, const char* size, const char* offset,
                         const char* page) {
    return std::string("{\"base_host_virt_addr\":") + address + ",\"size\":" + size +
           ",\"offset\":" + offset + ",\"page_size\":" + page + "}";
  };
  const auto one = [&](const char* address, const char* size, const char* offset,
                       const char* page) {
    return error_of("[" + region(address, size, offset, page) + "]");
  };
  EXPECT_EQ(one("4096", "4096", "0", "4096"), "accepted");
  for (const std::string& error :
       {one("1", "4096", "0", "4096"), one("4096", "0", "0", "4096"),
        one("4096", "100", "0", "4096"), one("4096", "4096", "1", "4096"),
        one("4096", "4096", "0", "8192"), one("18446744073709547520", "8192", "0", "4096"),
        one("4096", "4096", "18446744073709547520", "4096"), one("4096", "4096", "262144", "4096"),
        one("-1", "4096", "0", "4096"), one("4096", "1.5", "0", "4096"),
        one("\"x\"", "4096", "0", "4096"), one("4096", "4096", "0", "null"),
        error_of("[" + region("4096", "8192", "0", "4096") + "," +
                 region("8192", "4096", "8192", "4096") + "]"),
        error_of("[]"), error_of("{}"), error_of("[1]"), error_of("nonsense"), error_of("")}) {
    EXPECT_NE(error, "accepted");
  }
  std::string many = "[";
  for (int i = 0; i < 65; ++i) many += (i > 0 ? "," : "") + region("4096", "4096", "0", "4096");
  EXPECT_NE(error_of(many + "]").find("1 to 64 regions"), std::string::npos);
}

}  // namespace
}  // namespace lamina::pager
