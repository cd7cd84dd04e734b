// Bytes that must never change: the formats of docs/format.md as files, and headers that
// wrenn's snapshot package wrote, through our reader and writer.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "format/header_codec.h"
#include "format/header_native.h"
#include "format/header_v1.h"
#include "format/trailer.h"

namespace lamina::format {
namespace {

using mapping::Extent;
using mapping::Mapping;

std::string data_path(const std::string& name) {
  return std::string(LAMINA_TEST_DATA) + "/" + name;
}

Uuid id(const char* text) { return *Uuid::parse(text); }

/// Compares with the golden file; LAMINA_UPDATE_GOLDEN=1 writes it instead, for a change of format
/// that docs/format.md explains.
void expect_golden(const std::string& name, const std::vector<std::byte>& bytes) {
  if (std::getenv("LAMINA_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(data_path(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  std::ifstream file(data_path(name), std::ios::binary);
  ASSERT_TRUE(file) << name;
  const std::string golden((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
  EXPECT_EQ(golden, std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

/// The worked example of docs/format.md: eight blocks, a base of five and a diff of two, one block
/// cleared by the diff.
constexpr const char* kBase = "11111111-1111-4111-8111-111111111111";
constexpr const char* kDiff = "22222222-2222-4222-8222-222222222222";
constexpr const char* kPause = "33333333-3333-4333-8333-333333333333";

Header worked_example() {
  Header header;
  header.pause_id = id(kPause);
  header.build_id = id(kDiff);
  header.base_build_id = id(kBase);
  header.memory_bytes = 8 * 4096;
  header.generation = 1;
  header.layers = {{5, true}, {2, true}};
  header.mapping = *Mapping::create(8, {id(kBase), id(kDiff)},
                                    std::vector<Extent>{{0, 2, 1, 0},
                                                        {2, 2, 2, 0},
                                                        {4, 1, mapping::kZeros, 0},
                                                        {5, 1, 1, 4},
                                                        {6, 2, mapping::kZeros, 0}});
  return header;
}

TEST(Golden, ANativeHeaderIsEncodedToTheGoldenFile) {
  const Header header = worked_example();
  const auto bytes = encode_native_header(header);
  expect_golden("header_native_v1.bin", bytes);
  const auto decoded = decode_header(bytes);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, header);
}

TEST(Golden, ANativeHeaderWithCompactExtentsIsEncodedToTheGoldenFile) {
  const Header header = worked_example();
  const auto bytes = encode_native_header(header, ExtentForm::kCompact);
  expect_golden("header_native_compact_v1.bin", bytes);
  const auto decoded = decode_header(bytes);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, header);
}

// Each rule for a storage block, each way to state a layer and a length.
TEST(Golden, EveryKindOfCompactExtentIsEncodedToTheGoldenFile) {
  Header header;
  header.pause_id = id(kPause);
  header.memory_bytes = 2000 * 4096;
  std::vector<Uuid> layers(70);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i] = id(kBase);
    layers[i].bytes[15] = static_cast<std::uint8_t>(i);
  }
  header.build_id = layers.back();
  header.base_build_id = layers.front();
  header.generation = layers.size() - 1;
  header.layers.assign(layers.size(), {100'000, true});
  header.mapping = *Mapping::create(2000, layers,
                                    std::vector<Extent>{{0, 10, 1, 0},
                                                        {10, 300, mapping::kZeros, 0},
                                                        {310, 255, 2, 310},
                                                        {565, 5, 1, 10},
                                                        {570, 30, 2, 570},
                                                        {600, 256, 1, 20},
                                                        {856, 1, 62, 90'000},
                                                        {857, 1, 63, 255},
                                                        {858, 2, 70, 256},
                                                        {860, 1140, 70, 0}});
  const auto bytes = encode_native_header(header, ExtentForm::kCompact);
  expect_golden("header_native_compact_kinds_v1.bin", bytes);
  const auto decoded = decode_header(bytes);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, header);
}

TEST(Golden, ATrailerIsEncodedToTheGoldenFile) {
  Trailer trailer;
  trailer.build_id = id(kDiff);
  trailer.pause_id = id(kPause);
  trailer.parent = id(kBase);
  trailer.memory_bytes = 8 * 4096;
  trailer.data_blocks = 2;
  trailer.chain = {id(kBase)};
  trailer.extents = {{2, 2, 0, 0}};
  trailer.zeros = {{4, 1}, {6, 2}};
  trailer.checksums = {0x0123456789abcdef, 0xfedcba9876543210};
  set_positions(trailer);
  const auto bytes = encode_trailer(trailer);
  expect_golden("trailer_v2.bin", bytes);
  const auto decoded = decode_trailer(bytes, 2 * 4096 + bytes.size());
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, trailer);
}

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(Golden, HeadersOfWrennRoundTripByteForByte) {
  std::ifstream file(data_path("original_v1.json"));
  const auto cases = nlohmann::json::parse(file)["cases"];
  ASSERT_GE(cases.size(), 38);
  for (const auto& item : cases) {
    const auto bytes = from_hex(item["expected"]["header_hex"].get<std::string>());
    const auto raw = decode_v1(bytes);
    ASSERT_TRUE(raw) << item["name"];
    EXPECT_EQ(encode_v1(*raw), bytes) << item["name"];
    const auto header = to_header(*raw);
    ASSERT_TRUE(header) << item["name"] << header.error().message;
    EXPECT_EQ(header->generation, item["expected"]["generation"]);
    // Through the mapping and back only the meaningless storage of zeros may differ.
    HeaderV1 again = from_header(*header);
    HeaderV1 expected = *raw;
    for (RecordV1& record : expected.records) {
      if (record.build_id.is_nil()) record.storage_offset = 0;
    }
    EXPECT_EQ(again, expected) << item["name"];
  }
}

}  // namespace
}  // namespace lamina::format
