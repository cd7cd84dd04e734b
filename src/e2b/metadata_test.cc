#include "e2b/metadata.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace lamina::e2b {
namespace {

constexpr std::uint64_t kMemory = 8 * 4096 - 1;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

/// The runs as a text: "3+1 0+2".
std::string runs_of(const std::string& metadata, std::uint64_t memory_bytes = kMemory) {
  const auto set = working_set_of(bytes_of(metadata), memory_bytes);
  if (!set) return "refused";
  if (!*set) return "none";
  std::string text;
  for (const BlockRun& run : (*set)->runs) {
    text += (text.empty() ? "" : " ") + std::to_string(run.first) + "+" + std::to_string(run.count);
  }
  return text;
}

std::string prefetch(const std::string& indices, const std::string& page_bytes) {
  return R"({"prefetch":{"memory":{"indices":)" + indices + R"(,"block_size":)" + page_bytes +
         "}}}";
}

TEST(E2bMetadata, PagesComeInTheirOrderOnce) {
  EXPECT_EQ(runs_of(prefetch("[3,4,1,3,0]", "4096")), "3+2 1+1 0+1");
  EXPECT_EQ(runs_of(prefetch("[1,0]", "8192")), "2+2 0+2");
  EXPECT_EQ(runs_of(prefetch("[7,8,4294967295]", "4096")), "7+1");
  EXPECT_EQ(runs_of(prefetch("[0]", "1073741824")), "0+8");
}

TEST(E2bMetadata, NoListIsNone) {
  for (const char* text :
       {"{}", R"({"prefetch":null})", R"({"prefetch":{}})", R"({"prefetch":{"memory":null}})",
        R"({"prefetch":{"memory":{"indices":null,"block_size":4096}}})"}) {
    EXPECT_EQ(runs_of(text), "none") << text;
  }
  EXPECT_EQ(runs_of(prefetch("[]", "4096")), "none");
}

TEST(E2bMetadata, AListOfAnotherFormIsRefused) {
  for (const char* text : {"", "[]", "{", R"({"prefetch":1})", R"({"prefetch":{"memory":[]}})",
                           R"({"prefetch":{"memory":{"indices":[1]}}})"}) {
    EXPECT_EQ(runs_of(text), "refused") << text;
  }
  EXPECT_EQ(runs_of(prefetch("5", "4096")), "refused");
  EXPECT_EQ(runs_of(prefetch("[-1]", "4096")), "refused");
  EXPECT_EQ(runs_of(prefetch("[1.5]", "4096")), "refused");
  EXPECT_EQ(runs_of(prefetch("[4294967296]", "4096")), "refused");
  for (const char* page : {"0", "-4096", "4095", "1073745920", "\"4096\""}) {
    EXPECT_EQ(runs_of(prefetch("[1]", page)), "refused") << page;
  }
}

TEST(E2bMetadata, DeepNestingIsRefused) {
  constexpr std::size_t kDepth = 1'000'000;
  const std::string deep = R"({"a":)" + std::string(kDepth, '[') + std::string(kDepth, ']') + "}";
  EXPECT_EQ(runs_of(deep), "refused");
  EXPECT_FALSE(make_metadata(bytes_of(deep), Uuid::random(), std::nullopt, 4096));
  const std::string flat = R"({"a":)" + std::string(90, '[') + std::string(90, ']') + "}";
  EXPECT_EQ(runs_of(flat), "none");
}

TEST(E2bMetadata, WhatIsNotOursStays) {
  const std::string before =
      R"({"version":2,"template":{"build_id":"x","kernel_version":"k"},"start":{"a":[1]},)"
      R"("prefetch":{"memory":{"indices":[9],"block_size":4096},"other":1}})";
  const Uuid build = Uuid::random();
  const format::WorkingSet set{kMemory, {{5, 2}, {0, 1}, {6, 2}}};
  const auto text = make_metadata(bytes_of(before), build, set, 4096);
  ASSERT_TRUE(text);
  const auto json = nlohmann::json::parse(*text);
  EXPECT_EQ(json["template"]["build_id"], build.to_string());
  EXPECT_EQ(json["template"]["kernel_version"], "k");
  EXPECT_EQ(json["start"]["a"][0], 1);
  EXPECT_EQ(json["prefetch"]["other"], 1);
  EXPECT_EQ(json["prefetch"]["memory"]["indices"], nlohmann::json({5, 6, 0, 7}));
  EXPECT_EQ(json["prefetch"]["memory"]["access_types"].size(), 4U);
  EXPECT_EQ(runs_of(*text), "5+2 0+1 7+1");
  const auto without = make_metadata({}, build, std::nullopt, 4096);
  ASSERT_TRUE(without);
  EXPECT_FALSE(nlohmann::json::parse(*without).contains("prefetch"));
}

TEST(E2bMetadata, PagesOf2MiBAreListedOnce) {
  const format::WorkingSet set{std::uint64_t{8} << 20, {{513, 1}, {0, 2}, {600, 1}}};
  const auto text = make_metadata({}, Uuid::random(), set, std::uint64_t{2} << 20);
  ASSERT_TRUE(text);
  EXPECT_EQ(runs_of(*text, std::uint64_t{8} << 20), "512+512 0+512");
}

}  // namespace
}  // namespace lamina::e2b
