#include "e2b/header.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "e2b/compression.h"

namespace lamina::e2b {
namespace {

constexpr std::size_t kFirstBytes = 64;

Uuid build_of(std::uint8_t number) {
  Uuid id;
  id.bytes.fill(number);
  return id;
}

/// Three builds over 40 blocks, one of them zstd with two frames.
Header example_header(std::uint32_t version) {
  Header header;
  header.version = version;
  header.memory_bytes = 40 * 4096 - 5;
  header.generation = 7;
  header.build_id = build_of(3);
  header.base_build_id = build_of(1);
  header.builds = {build_of(1), build_of(3), build_of(2)};
  header.mappings = {{0, 4, 0, 0},  {4, 6, kNoBuild, 0}, {10, 1, 1, 9},
                     {11, 9, 0, 4}, {20, 19, 2, 70},     {39, 1, kNoBuild, 0}};
  if (version >= 4) {
    BuildEntry entry;
    entry.data_bytes = 10 * 4096;
    entry.sha256.fill(9);
    entry.compression = Compression::kZstd;
    entry.frames = {{0, 0, 32768, 900}, {32768, 900, 8192, 8300}};
    header.entries[build_of(3)] = entry;
    header.entries[build_of(2)] = {};
  }
  return header;
}

std::vector<std::byte> encoded(const Header& header) {
  auto bytes = encode_header(header);
  EXPECT_TRUE(bytes) << bytes.error().message;
  return std::move(*bytes);
}

/// A header of version 4 or 5 whose compressed part is `block`.
std::vector<std::byte> packed_header(std::uint32_t version, std::span<const std::byte> block,
                                     std::uint64_t memory_bytes = 40 * 4096) {
  Header header = example_header(3);
  header.version = version;
  header.memory_bytes = memory_bytes;
  header.mappings.clear();
  std::vector<std::byte> bytes = encoded(header);
  bytes.resize(kFirstBytes);
  ByteWriter writer;
  writer.put_bytes(bytes);
  writer.put(std::uint8_t{0});
  writer.put(static_cast<std::uint32_t>(block.size()));
  const auto frame = encode_header_frame(block);
  EXPECT_TRUE(frame);
  writer.put_bytes(*frame);
  return writer.take();
}

void expect_refused(std::span<const std::byte> bytes, const std::string& part = {}) {
  const auto header = decode_header(bytes);
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().kind, ErrorKind::kCorrupt);
  EXPECT_NE(header.error().message.find(part), std::string::npos) << header.error().message;
}

TEST(E2bHeader, ComesBackTheSame) {
  for (const std::uint32_t version : {3U, 4U, 5U}) {
    const Header header = example_header(version);
    const auto decoded = decode_header(encoded(header));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, header) << version;
  }
}

TEST(E2bHeader, EveryTruncationIsRefused) {
  for (const std::uint32_t version : {3U, 4U, 5U}) {
    const std::vector<std::byte> bytes = encoded(example_header(version));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      // Without records, version 3 means that the whole memory is the build's own.
      if (version == 3 && size == kFirstBytes) continue;
      expect_refused(std::span(bytes).first(size));
    }
  }
}

TEST(E2bHeader, BytesBehindItAreRefused) {
  for (const std::uint32_t version : {3U, 4U, 5U}) {
    std::vector<std::byte> bytes = encoded(example_header(version));
    bytes.push_back(std::byte{0});
    expect_refused(bytes);
  }
}

TEST(E2bHeader, EveryFlipOfAPackedPartIsRefused) {
  for (const std::uint32_t version : {4U, 5U}) {
    std::vector<std::byte> bytes = encoded(example_header(version));
    for (std::size_t i = kFirstBytes; i < bytes.size(); ++i) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        bytes[i] ^= std::byte{1} << bit;
        expect_refused(bytes);
        bytes[i] ^= std::byte{1} << bit;
      }
    }
  }
}

/// E2B has no checksum over these. What is accepted must be a mapping that covers the memory.
TEST(E2bHeader, AFlipElsewhereGivesAWholeMappingOrIsRefused) {
  for (const std::uint32_t version : {3U, 4U, 5U}) {
    std::vector<std::byte> bytes = encoded(example_header(version));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        bytes[i] ^= std::byte{1} << bit;
        if (const auto header = decode_header(bytes)) {
          std::uint64_t end = 0;
          for (const BuildMapping& mapping : header->mappings) {
            ASSERT_EQ(mapping.guest_block, end);
            ASSERT_GT(mapping.block_count, 0U);
            end += mapping.block_count;
          }
          EXPECT_EQ(end, (header->memory_bytes + 4095) / 4096);
        }
        bytes[i] ^= std::byte{1} << bit;
      }
    }
  }
}

TEST(E2bHeader, ARecordThatLeavesAGapOrOverlapsIsRefused) {
  for (const std::uint32_t version : {3U, 4U}) {
    for (const auto& change : std::vector<std::pair<std::size_t, BuildMapping>>{
             {2, {11, 1, 1, 9}},  // gap before it
             {2, {9, 2, 1, 9}},   // over the one before it
             {2, {10, 0, 1, 9}},  // empty
             {5, {39, 2, 0, 0}},  // behind the memory
             {0, {0, 4, 0, 0xfffffffe}}}) {
      Header header = example_header(version);
      header.mappings[change.first] = change.second;
      expect_refused(encoded(header), "mapping");
    }
    Header header = example_header(version);
    header.mappings.pop_back();
    expect_refused(encoded(header), "end at block 39");
    header = example_header(version);
    std::swap(header.mappings[1], header.mappings[2]);
    expect_refused(encoded(header), "mapping 1");
  }
}

TEST(E2bHeader, ColumnsThatOverlapAreRefused) {
  Header header = example_header(5);
  header.mappings[2] = {3, 1, 1, 9};
  expect_refused(encoded(header), "begins at block 3");
  header = example_header(5);
  header.mappings[4].block_count = 21;
  expect_refused(encoded(header), "behind the memory");
}

TEST(E2bHeader, FramesOutOfOrderAreRefused) {
  const std::vector<std::vector<Frame>> bad = {{{0, 0, 32768, 900}, {32767, 900, 8192, 8300}},
                                               {{0, 0, 32768, 900}, {32768, 899, 8192, 8300}},
                                               {{32768, 900, 8192, 8300}, {0, 0, 32768, 900}},
                                               {{0, 0, 0, 900}},
                                               {{0, 0, 32768, 0}},
                                               {{0, 0, 0x80000000, 900}},
                                               {{0, 0, 40961, 900}},
                                               {{0xffffffffffffff00, 0, 32768, 900}}};
  for (const std::vector<Frame>& frames : bad) {
    Header header = example_header(4);
    header.entries[build_of(3)].frames = frames;
    expect_refused(encoded(header), "frame");
  }
  Header header = example_header(4);
  header.entries[build_of(3)].compression = Compression::kNone;
  expect_refused(encoded(header), "compression 0 and 2 frames");
  header.entries[build_of(3)].compression = static_cast<Compression>(3);
  expect_refused(encoded(header), "compression 3");
}

/// Counts that are lies must not make the decoder allocate.
TEST(E2bHeader, HugeCountsAreRefused) {
  for (const std::uint32_t count : {1U, 70'000U, 1U << 20, 6'391'321U, 0xffffffffU}) {
    ByteWriter builds;
    builds.put(count);
    expect_refused(packed_header(4, builds.view()));
    ByteWriter mappings;
    mappings.put(std::uint32_t{0});
    mappings.put(count);
    expect_refused(packed_header(4, mappings.view()));
    expect_refused(packed_header(5, mappings.view()));
    ByteWriter columns;
    columns.put(std::uint32_t{0});
    columns.put(std::uint32_t{0});
    columns.put(count);
    expect_refused(packed_header(5, columns.view()));
    ByteWriter frames;
    frames.put(std::uint32_t{1});
    frames.put(build_of(4));
    frames.put(std::uint64_t{4096});
    frames.put_bytes(std::array<std::byte, 32>{});
    frames.put(std::uint32_t{1});
    frames.put(count);
    expect_refused(packed_header(4, frames.view()));
  }
}

TEST(E2bHeader, WrongSizesAreRefused) {
  for (const std::uint32_t version : {4U, 5U}) {
    std::vector<std::byte> bytes = encoded(example_header(version));
    std::uint32_t size = 0;
    std::memcpy(&size, &bytes[kFirstBytes + 1], sizeof size);
    for (const std::uint32_t wrong : {0U, size - 1, size + 1, 256U << 20, (256U << 20) + 1}) {
      std::memcpy(&bytes[kFirstBytes + 1], &wrong, sizeof wrong);
      expect_refused(bytes);
    }
  }
}

TEST(E2bHeader, NumbersOfMoreThan64BitsAreRefused) {
  ByteWriter block;
  block.put(std::uint32_t{0});
  block.put(std::uint32_t{1});
  block.put(build_of(3));
  block.put(std::uint32_t{1});
  for (int i = 0; i < 9; ++i) block.put(std::uint8_t{0x80});
  block.put(std::uint8_t{2});
  expect_refused(packed_header(5, block.view()), "64 bits");
}

TEST(E2bHeader, NilOrTwiceInTheTableOfBuildsIsRefused) {
  for (const std::uint8_t second : {std::uint8_t{0}, std::uint8_t{1}}) {
    ByteWriter block;
    block.put(std::uint32_t{0});
    block.put(std::uint32_t{2});
    block.put(build_of(1));
    block.put(build_of(second));
    block.put(std::uint32_t{0});
    expect_refused(packed_header(5, block.view()), "table of builds");
  }
}

TEST(E2bHeader, NoMappingMeansTheOwnBuildOrZeros) {
  Header header = example_header(3);
  header.mappings.clear();
  const auto records = decode_header(encoded(header));
  ASSERT_TRUE(records);
  ASSERT_EQ(records->mappings.size(), 1U);
  EXPECT_EQ(records->mappings[0], (BuildMapping{0, 40, 0, 0}));
  EXPECT_EQ(records->builds[0], header.build_id);
  ByteWriter block;
  for (int i = 0; i < 3; ++i) block.put(std::uint32_t{0});
  const auto columns = decode_header(packed_header(5, block.view()));
  ASSERT_TRUE(columns);
  ASSERT_EQ(columns->mappings.size(), 1U);
  EXPECT_EQ(columns->mappings[0], (BuildMapping{0, 40, kNoBuild, 0}));
}

/// Where each block of a memory is: the plain array that mappings stand for.
using PlainMapping = std::vector<std::pair<Uuid, std::uint32_t>>;

PlainMapping plain_of(const Header& header) {
  PlainMapping plain;
  for (const BuildMapping& mapping : header.mappings) {
    for (std::uint32_t block = 0; block < mapping.block_count; ++block) {
      if (mapping.build == kNoBuild) {
        plain.emplace_back(Uuid{}, 0);
      } else {
        plain.emplace_back(header.builds[mapping.build], mapping.storage_block + block);
      }
    }
  }
  return plain;
}

/// A random place in one of five builds.
void place_randomly(std::mt19937& random, Header& header, BuildMapping& mapping) {
  const Uuid id = build_of(static_cast<std::uint8_t>(1 + random() % 5));
  const auto found = std::find(header.builds.begin(), header.builds.end(), id);
  mapping.build = static_cast<std::uint32_t>(found - header.builds.begin());
  if (found == header.builds.end()) header.builds.push_back(id);
  mapping.storage_block = static_cast<std::uint32_t>(random() % 0xfffffff0U);
}

Header random_header(std::mt19937& random) {
  Header header;
  header.version = static_cast<std::uint32_t>(3 + random() % 3);
  header.block_bytes = random() % 2 == 0 ? 4096 : kHugeBlockBytes;
  header.build_id = build_of(200);
  std::uint32_t end = 0;
  const std::size_t count = 1 + random() % 300;
  for (std::size_t i = 0; i < count; ++i) {
    BuildMapping mapping{end, 1U + static_cast<std::uint32_t>(random() % 9), kNoBuild, 0};
    if (random() % 3 != 0) place_randomly(random, header, mapping);
    header.mappings.push_back(mapping);
    end += mapping.block_count;
  }
  header.memory_bytes = std::uint64_t{end} * 4096;
  return header;
}

/// LAMINA_SEED repeats one seed.
TEST(E2bHeader, RandomMappingsComeBackTheSame) {
  const char* fixed = std::getenv("LAMINA_SEED");
  const unsigned seed =
      fixed != nullptr ? static_cast<unsigned>(std::stoul(fixed)) : std::random_device()();
  SCOPED_TRACE("LAMINA_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 60; ++round) {
    const Header header = random_header(random);
    const auto decoded = decode_header(encoded(header));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(plain_of(*decoded), plain_of(header));
  }
}

}  // namespace
}  // namespace lamina::e2b
