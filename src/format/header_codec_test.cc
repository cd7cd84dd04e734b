#include "format/header_codec.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "format/header_native.h"
#include "format/header_v1.h"

namespace lamina::format {
namespace {

using mapping::Extent;
using mapping::Mapping;

Uuid id(std::uint8_t number) {
  Uuid uuid;
  uuid.bytes.fill(number);
  return uuid;
}

Header small_header() {
  Header header;
  header.pause_id = id(9);
  header.build_id = id(2);
  header.base_build_id = id(1);
  header.memory_bytes = 8 * 4096 - 100;
  header.generation = 1;
  header.vmstate = FileDigest{1234, {1, 2, 3}};
  header.layers = {{6, true}, {3, true}};
  header.mapping = *Mapping::create(
      8, {id(1), id(2)},
      std::vector<Extent>{{0, 3, 1, 0}, {3, 2, 2, 1}, {5, 1, mapping::kZeros, 0}, {6, 2, 1, 4}});
  return header;
}

/// A version 1 header of 8 blocks that tests modify.
HeaderV1 small_v1() {
  HeaderV1 raw;
  raw.block_bytes = 4096;
  raw.memory_bytes = 8 * 4096;
  raw.generation = 3;
  raw.build_id = id(2);
  raw.base_build_id = id(1);
  raw.records = {
      {0, 3 * 4096, id(1), 0}, {3 * 4096, 4096, Uuid{}, 77}, {4 * 4096, 4 * 4096, id(2), 0}};
  return raw;
}

std::string v1_error(const HeaderV1& raw) {
  const auto header = decode_header(encode_v1(raw));
  if (header) return "accepted";
  EXPECT_EQ(header.error().kind, ErrorKind::kCorrupt);
  return header.error().message;
}

TEST(NativeHeader, RoundTrips) {
  const Header header = small_header();
  const auto decoded = decode_header(encode_native_header(header));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, header);
}

TEST(NativeHeader, EveryTruncationIsRejected) {
  const auto bytes = encode_native_header(small_header());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto decoded = decode_header(std::span(bytes).first(length));
    ASSERT_FALSE(decoded) << length;
    EXPECT_EQ(decoded.error().kind, ErrorKind::kCorrupt);
  }
}

TEST(NativeHeader, EveryBitFlipIsRejected) {
  auto bytes = encode_native_header(small_header());
  for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
    const auto flip = static_cast<std::byte>(1U << (i % 8));
    bytes[i / 8] ^= flip;
    ASSERT_FALSE(decode_header(bytes)) << "byte " << i / 8;
    bytes[i / 8] ^= flip;
  }
}

TEST(NativeHeader, TrailingBytesAreRejected) {
  auto bytes = encode_native_header(small_header());
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode_header(bytes));
}

TEST(NativeHeader, UnknownVersionIsRejectedNamingBoth) {
  auto bytes = encode_native_header(small_header());
  bytes[8] = std::byte{7};
  const auto decoded = decode_header(bytes);
  ASSERT_FALSE(decoded);
  EXPECT_NE(decoded.error().message.find("version 7; this build reads version 1"),
            std::string::npos);
}

TEST(NativeHeader, ExtentsPastALayerAreRejected) {
  Header header = small_header();
  header.layers[0].data_blocks = 5;
  const auto decoded = decode_header(encode_native_header(header));
  ASSERT_FALSE(decoded);
  EXPECT_NE(decoded.error().message.find("past its data's end"), std::string::npos);
}

TEST(HeaderV1, RoundTripIsByteExactIncludingUnusedFields) {
  const auto bytes = encode_v1(small_v1());
  const auto raw = decode_v1(bytes);
  ASSERT_TRUE(raw);
  EXPECT_EQ(raw->records[1].storage_offset, 77);
  EXPECT_EQ(encode_v1(*raw), bytes);
}

TEST(HeaderV1, Version3HasTheSameLayout) {
  HeaderV1 raw = small_v1();
  raw.version = 3;
  const auto header = decode_header(encode_v1(raw));
  ASSERT_TRUE(header);
  EXPECT_EQ(header->format, HeaderFormat::kV3);
  EXPECT_EQ(from_header(*header).version, 3);
}

TEST(HeaderV1, LargeBlocksAreConverted) {
  HeaderV1 raw;
  raw.version = 3;
  raw.block_bytes = 2 << 20;
  raw.memory_bytes = (3 << 20) + 4096;  // the last block of 2 MiB is half
  raw.build_id = raw.base_build_id = id(1);
  raw.records = {{0, 2 << 20, Uuid{}, 0}, {2 << 20, 2 << 20, id(1), 2 << 20}};
  const auto header = decode_header(encode_v1(raw));
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->mapping.block_count(), 769);
  EXPECT_EQ(header->mapping.extent(1), (Extent{512, 257, 1, 512}));
}

TEST(HeaderV1, HeaderWithoutRecordsMapsToItsOwnBuild) {
  HeaderV1 raw = small_v1();
  raw.records.clear();
  const auto header = decode_header(encode_v1(raw));
  ASSERT_TRUE(header);
  EXPECT_EQ(header->mapping.extent(0), (Extent{0, 8, 1, 0}));
  EXPECT_EQ(header->mapping.layers()[0], id(2));
}

TEST(HeaderV1, LastRecordMayEndAtTheMemorySizeOrTheNextBlock) {
  HeaderV1 raw = small_v1();
  raw.memory_bytes -= 1000;
  EXPECT_EQ(v1_error(raw), "accepted");
  raw.records.back().length -= 1000;
  EXPECT_EQ(v1_error(raw), "accepted");
  raw.records.back().length -= 1;
  EXPECT_NE(v1_error(raw), "accepted");
}

// Such a record would map nothing, but list an unused layer.
TEST(HeaderV1, RecordsAfterTheMemoryEndAreRejected) {
  HeaderV1 raw = small_v1();
  raw.memory_bytes -= 1000;
  raw.records.back().length -= 1000;
  raw.records.push_back({raw.memory_bytes, 1000, id(3), 0});
  EXPECT_EQ(v1_error(raw), "extent 3 starts at 0x7c18, past memory size 0x7c18");
  raw.block_bytes = 8192;
  raw.memory_bytes = 4096;
  raw.records = {{0, 4096, id(1), 0}, {4096, 4096, id(3), 0}};
  EXPECT_EQ(v1_error(raw), "extent 1 starts at 0x1000, past memory size 0x1000");
}

TEST(HeaderV1, LayersAreListedBaseFirstOwnBuildLast) {
  const auto header = decode_header(encode_v1(small_v1()));
  ASSERT_TRUE(header);
  EXPECT_EQ(header->mapping.layers()[0], id(1));
  EXPECT_EQ(header->mapping.layers()[1], id(2));
}

TEST(HeaderV1, InvalidRecordsAreRejected) {
  const auto broken = [](auto change) {
    HeaderV1 raw = small_v1();
    change(raw);
    return v1_error(raw);
  };
  using Raw = HeaderV1&;
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(broken([](Raw r) { r.records[1].offset = 2 * 4096; }), "extent 1 starts at 0x2000, before");
  has(broken([](Raw r) { r.records[1].offset = 4 * 4096; }), "extent 1 starts at 0x4000, past");
  has(broken([](Raw r) { std::swap(r.records[0], r.records[2]); }), "extent 0 starts at");
  has(broken([](Raw r) { r.records[2].length += 4096; }), "past memory size");
  has(broken([](Raw r) { r.records[2].length = ~0ULL; }), "extent 2 has length");
  has(broken([](Raw r) { r.records[0].length = 0; }), "extent 0 has length");
  has(broken([](Raw r) { r.records[0].length = 100; }), "not a multiple of block size");
  has(broken([](Raw r) { r.records[0].storage_offset = 1; }), "storage offset 0x1");
  has(broken([](Raw r) { r.records[0].storage_offset = ~0ULL - 4095; }), "storage offset");
  has(broken([](Raw r) { r.records.pop_back(); }), "before memory size");
  has(broken([](Raw r) { r.memory_bytes = 0; }), "memory size 0");
  has(broken([](Raw r) { r.memory_bytes = ~0ULL; }), "memory size");
  has(broken([](Raw r) { r.block_bytes = 512; }), "block size 512");
  has(broken([](Raw r) { r.block_bytes = 12288; }), "block size 12288");
  has(broken([](Raw r) { r.block_bytes = 0; }), "block size 0");
  has(broken([](Raw r) { r.build_id = Uuid{}; }), "build id is nil");
}

TEST(HeaderV1, OnlyTruncationToTheFixedPartIsAccepted) {
  const auto bytes = encode_v1(small_v1());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto decoded = decode_header(std::span(bytes).first(length));
    // The fixed part alone, 64 bytes, is a valid header without records.
    EXPECT_EQ(decoded.has_value(), length == 64) << length;
  }
}

TEST(Header, UnknownFormatIsRejected) {
  std::vector<std::byte> bytes(100, std::byte{0});
  bytes[0] = std::byte{2};
  const auto decoded = decode_header(bytes);
  ASSERT_FALSE(decoded);
  EXPECT_NE(decoded.error().message.find("neither the native magic nor version 1 or 3"),
            std::string::npos);
  EXPECT_FALSE(decode_header({}));
}

}  // namespace
}  // namespace lamina::format
