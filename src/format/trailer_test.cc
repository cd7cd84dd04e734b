#include "format/trailer.h"

#include <gtest/gtest.h>

namespace lamina::format {
namespace {

Uuid id(std::uint8_t number) {
  Uuid uuid;
  uuid.bytes.fill(number);
  return uuid;
}

Trailer small_trailer(LayerLayout layout) {
  Trailer trailer;
  trailer.build_id = id(3);
  trailer.pause_id = id(9);
  trailer.parent = id(2);
  trailer.memory_bytes = 20 * 4096;
  trailer.layout = layout;
  trailer.chain = {id(1), id(2)};
  trailer.replaces = {id(7)};
  trailer.extents = {{2, 3, 0, 0}, {8, 1, 0, 0}, {10, 2, 0, 0}};
  trailer.zeros = {{0, 2}, {12, 4}};
  trailer.checksums = {10, 11, 12, 13, 14, 15};
  trailer.data_blocks = layout == LayerLayout::kCompact ? 6 : 20;
  set_positions(trailer);
  return trailer;
}

std::uint64_t file_bytes(const Trailer& trailer, const std::vector<std::byte>& bytes) {
  return trailer.data_blocks * 4096 + bytes.size();
}

class TrailerOfLayout : public testing::TestWithParam<LayerLayout> {};

TEST_P(TrailerOfLayout, RoundTrips) {
  const Trailer trailer = small_trailer(GetParam());
  const auto bytes = encode_trailer(trailer);
  const auto decoded = decode_trailer(bytes, file_bytes(trailer, bytes));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, trailer);
}

TEST_P(TrailerOfLayout, EveryBitFlipIsRejected) {
  const Trailer trailer = small_trailer(GetParam());
  auto bytes = encode_trailer(trailer);
  for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
    const auto flip = static_cast<std::byte>(1U << (i % 8));
    bytes[i / 8] ^= flip;
    ASSERT_FALSE(decode_trailer(bytes, file_bytes(trailer, bytes))) << "byte " << i / 8;
    bytes[i / 8] ^= flip;
  }
}

TEST_P(TrailerOfLayout, EveryTruncationIsRejected) {
  const Trailer trailer = small_trailer(GetParam());
  const auto bytes = encode_trailer(trailer);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    // Truncated at the end and at the front.
    ASSERT_FALSE(
        decode_trailer(std::span(bytes).first(length), trailer.data_blocks * 4096 + length));
    ASSERT_FALSE(decode_trailer(std::span(bytes).last(length), file_bytes(trailer, bytes)));
  }
}

TEST_P(TrailerOfLayout, ListsAreReadWithoutChecksums) {
  Trailer trailer = small_trailer(GetParam());
  auto bytes = encode_trailer(trailer);
  const std::size_t lists_bytes = bytes.size() - kFooterBytes - trailer.checksums.size() * 8;
  const auto decode = [&](std::size_t length) {
    return decode_trailer_lists(std::span(bytes).first(length), std::span(bytes).last(kFooterBytes),
                                file_bytes(trailer, bytes));
  };
  const auto decoded = decode(lists_bytes);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(decoded->stored_blocks(), 6);
  // Bytes after the lists are ignored.
  bytes[lists_bytes] ^= std::byte{1};
  EXPECT_TRUE(decode(lists_bytes));
  EXPECT_FALSE(decode_trailer(bytes, file_bytes(trailer, bytes)));
  bytes[lists_bytes] ^= std::byte{1};

  EXPECT_FALSE(decode(lists_bytes - 1));
  EXPECT_FALSE(decode(lists_bytes + 8));
  for (std::size_t i = 0; i < lists_bytes; ++i) {
    bytes[i] ^= std::byte{1};
    EXPECT_FALSE(decode(lists_bytes)) << "byte " << i;
    bytes[i] ^= std::byte{1};
  }
  trailer.checksums.clear();
  EXPECT_EQ(*decoded, trailer);
}

TEST_P(TrailerOfLayout, DifferentFileSizeIsRejected) {
  const Trailer trailer = small_trailer(GetParam());
  const auto bytes = encode_trailer(trailer);
  EXPECT_FALSE(decode_trailer(bytes, file_bytes(trailer, bytes) + 4096));
  EXPECT_FALSE(decode_trailer(bytes, file_bytes(trailer, bytes) - 4096));
}

INSTANTIATE_TEST_SUITE_P(Layouts, TrailerOfLayout,
                         testing::Values(LayerLayout::kCompact, LayerLayout::kAdopted));

TEST(Trailer, FindStoredFindsTheExtentOrNothing) {
  const Trailer trailer = small_trailer(LayerLayout::kCompact);
  EXPECT_EQ(find_stored(trailer, 1), nullptr);
  EXPECT_EQ(find_stored(trailer, 2)->checksum_index, 0);
  EXPECT_EQ(find_stored(trailer, 4)->guest_block, 2);
  EXPECT_EQ(find_stored(trailer, 5), nullptr);
  EXPECT_EQ(find_stored(trailer, 11)->storage_block, 4);
  EXPECT_EQ(find_stored(trailer, 12), nullptr);
}

TEST(Trailer, DataWithoutFooterHasNoTrailer) {
  const std::vector<std::byte> data(kFooterBytes, std::byte{0x41});
  const auto footer = decode_footer(data, 100 * 4096);
  ASSERT_TRUE(footer);
  EXPECT_FALSE(footer->has_value());
}

/// The error of decoding a trailer with valid checksums but invalid contents.
std::string error_of(const Trailer& trailer) {
  const auto bytes = encode_trailer(trailer);
  const auto decoded = decode_trailer(bytes, file_bytes(trailer, bytes));
  if (decoded) return "accepted";
  EXPECT_EQ(decoded.error().kind, ErrorKind::kCorrupt);
  return decoded.error().message;
}

TEST(Trailer, ContradictionsAreRejected) {
  const auto broken = [](auto change) {
    Trailer trailer = small_trailer(LayerLayout::kCompact);
    change(trailer);
    return error_of(trailer);
  };
  using T = Trailer&;
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(broken([](T t) { t.extents[1].guest_block = 4; }), "extent 1 of the trailer");
  has(broken([](T t) { t.extents[1].guest_block = 5; }), "touching");
  has(broken([](T t) { t.extents[2].block_count = 0; }), "extent 2 of the trailer");
  has(broken([](T t) { t.extents[2].block_count = 0xffff'ffff; }), "extent 2 of the trailer");
  has(broken([](T t) { t.zeros[1].count = 100; }), "zero extent 1 of the trailer");
  has(broken([](T t) { t.zeros[0].count = 3; }), "both stored and zero");
  has(broken([](T t) { t.checksums.pop_back(); }), "one for each stored block");
  has(broken([](T t) { t.data_blocks = 7; }), "7 blocks of data where its trailer needs 6");
  has(broken([](T t) { t.memory_bytes = 0; }), "memory size 0");
  has(broken([](T t) { t.layout = static_cast<LayerLayout>(5); }), "layout 5");
}

}  // namespace
}  // namespace lamina::format
