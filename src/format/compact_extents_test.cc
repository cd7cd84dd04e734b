#include "format/compact_extents.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "format/header_codec.h"
#include "format/header_native.h"

namespace lamina::format {
namespace {

using mapping::Extent;
using mapping::LayerIndex;
using mapping::Mapping;

Uuid numbered_id(std::uint32_t number) {
  Uuid uuid;
  uuid.bytes.fill(1);
  for (std::size_t i = 0; i < 4; ++i) uuid.bytes[i] = static_cast<std::uint8_t>(number >> (8 * i));
  return uuid;
}

/// Extents of `layers` layers: mostly short ones that follow each other in their layer, and some
/// of every other kind.
Header random_header(std::mt19937_64& random, std::uint32_t extents, std::uint32_t layers) {
  std::vector<Extent> list;
  std::vector<std::uint32_t> ends(layers + 1, 0);
  std::uint32_t start = 0;
  for (std::uint32_t i = 0; i < extents; ++i) {
    const auto count = static_cast<std::uint32_t>(1 + random() % (random() % 20 == 0 ? 1000 : 20));
    const auto layer = static_cast<LayerIndex>(random() % (layers + 1));
    std::uint32_t storage = ends[layer];
    const auto kind = random() % 10;
    if (kind == 0) storage = static_cast<std::uint32_t>(random() % 1'000'000'000);
    if (kind == 1) storage = start;
    if (kind >= 2 && kind < 4) storage += static_cast<std::uint32_t>(random() % 300);
    if (layer == mapping::kZeros) storage = 0;
    list.push_back({start, count, layer, storage});
    ends[layer] = storage + count;
    start += count;
  }
  std::vector<Uuid> ids(layers);
  for (std::uint32_t i = 0; i < layers; ++i) ids[i] = numbered_id(i);
  Header header;
  header.pause_id = numbered_id(1'000'000);
  header.build_id = ids.back();
  header.base_build_id = ids.front();
  header.memory_bytes = std::uint64_t{start} * 4096;
  header.generation = layers - 1;
  header.layers.assign(layers, {UINT32_MAX - 1, true});
  header.mapping = *Mapping::create(start, std::move(ids), list);
  return header;
}

TEST(CompactExtents, RandomMappingsRoundTrip) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    std::mt19937_64 random(seed);
    const auto extents = static_cast<std::uint32_t>(1 + random() % 3000);
    const auto layers = static_cast<std::uint32_t>(1 + random() % (seed % 4 == 0 ? 300 : 20));
    const Header header = random_header(random, extents, layers);
    const auto bytes = encode_native_header(header, ExtentForm::kCompact);
    const auto decoded = decode_header(bytes);
    ASSERT_TRUE(decoded) << "seed " << seed << ": " << decoded.error().message;
    EXPECT_EQ(*decoded, header) << "seed " << seed;
  }
}

TEST(CompactExtents, StorageAtBothEndsOfItsRangeRoundTrips) {
  const std::uint32_t last = UINT32_MAX - 2;  // a layer has at most 2^32 - 1 blocks
  const auto mapping = Mapping::create(
      6, {numbered_id(1)},
      std::vector<Extent>{{0, 1, 1, last}, {1, 1, 1, 0}, {2, 1, 1, last}, {3, 3, 1, 7}});
  ASSERT_TRUE(mapping);
  const auto section = encode_compact_extents(*mapping);
  const auto extents = decode_compact_extents(section, 4, 1, 6);
  ASSERT_TRUE(extents) << extents.error().message;
  EXPECT_EQ(Mapping::create(6, {numbered_id(1)}, *extents).value(), *mapping);
}

TEST(CompactExtents, ManyExtentsAreWrittenCompactAndFewAreNot) {
  std::mt19937_64 random(7);
  const Header many = random_header(random, 100'000, 8);
  const std::size_t columns = encode_native_header(many, ExtentForm::kColumns).size();
  const auto bytes = encode_native_header(many);
  EXPECT_LT(bytes.size(), columns * 35 / 100);
  EXPECT_EQ(decode_header(bytes).value(), many);
  const Header few = random_header(random, kCompactExtents - 1, 8);
  EXPECT_EQ(encode_native_header(few), encode_native_header(few, ExtentForm::kColumns));
}

TEST(CompactExtents, WhatWouldBeLongerIsWrittenAsColumns) {
  // Each extent needs everything: a stated layer, a stated length, a stated storage block.
  const std::uint32_t count = kCompactExtents;
  std::vector<Uuid> ids(100);
  for (std::uint32_t i = 0; i < ids.size(); ++i) ids[i] = numbered_id(i);
  std::vector<Extent> extents;
  extents.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    extents.push_back({i * 300, 300, static_cast<LayerIndex>(70 + i % 2), (count - i) * 1000});
  }
  Header header;
  header.pause_id = numbered_id(1'000'000);
  header.build_id = ids.back();
  header.base_build_id = ids.front();
  header.memory_bytes = std::uint64_t{count} * 300 * 4096;
  header.generation = ids.size() - 1;
  header.layers.assign(ids.size(), {100'000'000, true});
  header.mapping = *Mapping::create(count * 300, std::move(ids), extents);
  const auto bytes = encode_native_header(header);
  EXPECT_EQ(bytes, encode_native_header(header, ExtentForm::kColumns));
  EXPECT_EQ(decode_header(encode_native_header(header, ExtentForm::kCompact)).value(), header);
}

TEST(CompactExtents, EveryTruncationAndEveryBitFlipOfTheHeaderIsRejected) {
  std::mt19937_64 random(3);
  auto bytes = encode_native_header(random_header(random, 40, 5), ExtentForm::kCompact);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    ASSERT_FALSE(decode_header(std::span(bytes).first(length))) << length;
  }
  for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
    const auto flip = static_cast<std::byte>(1U << (i % 8));
    bytes[i / 8] ^= flip;
    ASSERT_FALSE(decode_header(bytes)) << "byte " << i / 8;
    bytes[i / 8] ^= flip;
  }
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode_header(bytes));
}

std::string section_error(std::initializer_list<unsigned> bytes, std::uint32_t count,
                          std::size_t layers, std::uint32_t blocks) {
  std::vector<std::byte> section;
  section.reserve(bytes.size());
  for (const unsigned byte : bytes) section.push_back(static_cast<std::byte>(byte));
  const auto extents = decode_compact_extents(section, count, layers, blocks);
  if (extents) return "accepted";
  EXPECT_EQ(extents.error().kind, ErrorKind::kCorrupt);
  return extents.error().message;
}

// Behind a right checksum, that is: written by a program with a fault, or by an attacker.
TEST(CompactExtents, InvalidSectionsAreRejected) {
  EXPECT_EQ(section_error({4, 8}, 1, 1, 8), "accepted");
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(section_error({4, 8}, 2, 1, 8), "2 extents in 2 bytes");
  has(section_error({4, 8}, UINT32_MAX, 1, 8), "4294967295 extents in 2 bytes");
  has(section_error({8, 8}, 1, 1, 8), "extent 0 names layer 2 of 1");
  has(section_error({252, 8, 2, 0}, 1, 1, 8), "extent 0 names layer 2 of 1");
  has(section_error({1, 8}, 1, 1, 8), "extent 0 is zeros but has tag 0x1");
  has(section_error({252, 8, 0, 0}, 1, 1, 8), "extent 0 is zeros but has tag 0xfc");
  has(section_error({4, 9}, 1, 1, 8), "has 9 blocks; 8 are left");
  has(section_error({4, 0, 0, 0, 0, 0}, 1, 1, 8), "has 0 blocks");
  has(section_error({4, 0, 255, 255, 255, 255}, 1, 1, 8), "has 4294967295 blocks");
  has(section_error({4, 7}, 1, 1, 8), "before the memory's end");
  has(section_error({4, 8, 0}, 1, 1, 8), "need fewer than 3 bytes");
  has(section_error({7, 8}, 1, 1, 8), "need more than 2 bytes");
  has(section_error({}, 0, 1, 8), "before the memory's end");
}

TEST(CompactExtents, RandomSectionsNeverEndOutsideTheMemory) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> section(random() % 24);
    for (std::byte& byte : section) byte = static_cast<std::byte>(random() % 9);
    const auto count = static_cast<std::uint32_t>(random() % (section.size() + 2));
    const auto extents = decode_compact_extents(section, count, 2, 12);
    if (!extents) continue;
    std::uint32_t end = 0;
    for (const Extent& extent : *extents) {
      ASSERT_EQ(extent.guest_block, end);
      ASSERT_LE(extent.layer, 2);
      end = extent.guest_end();
    }
    ASSERT_EQ(end, 12);
  }
}

TEST(CompactExtents, UnknownFeaturesAreStillRefused) {
  std::mt19937_64 random(5);
  auto bytes = encode_native_header(random_header(random, 10, 2), ExtentForm::kCompact);
  bytes[24] |= std::byte{2};
  const std::uint64_t checksum = checksum64(std::span(bytes).first(248));
  std::memcpy(bytes.data() + 248, &checksum, sizeof(checksum));
  const auto decoded = decode_header(bytes);
  ASSERT_FALSE(decoded);
  EXPECT_NE(decoded.error().message.find("needs features 0x2 that this build does not know"),
            std::string::npos)
      << decoded.error().message;
}

}  // namespace
}  // namespace lamina::format
