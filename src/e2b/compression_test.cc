#include "e2b/compression.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>

namespace lamina::e2b {
namespace {

std::vector<std::byte> some_data(std::size_t size) {
  std::mt19937 random(static_cast<unsigned>(size));
  std::vector<std::byte> data(size);
  for (std::size_t i = 0; i < size; ++i) {
    // Half of it compresses.
    data[i] = std::byte(i % 512 < 256 ? 7 : random() & 0xffU);
  }
  return data;
}

std::vector<std::byte> frame_of(Compression compression, std::span<const std::byte> data) {
  FrameEncoder encoder(compression);
  const auto frame = encoder.encode(data);
  EXPECT_TRUE(frame) << frame.error().message;
  return {frame->begin(), frame->end()};
}

class E2bFrames : public testing::TestWithParam<Compression> {};

TEST_P(E2bFrames, ComeBackTheSame) {
  FrameDecoder decoder;
  for (const std::size_t size : {1UL, 4096UL, 5001UL, 2UL << 20}) {
    const auto data = some_data(size);
    const auto frame = frame_of(GetParam(), data);
    std::vector<std::byte> out(size);
    const Status decoded = decoder.decode(GetParam(), frame, out);
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(out, data);
  }
}

TEST_P(E2bFrames, AnotherLengthIsRefused) {
  const auto data = some_data(5001);
  const auto frame = frame_of(GetParam(), data);
  FrameDecoder decoder;
  for (const std::size_t size : {5000UL, 5002UL, 1UL, 70'000UL}) {
    std::vector<std::byte> out(size + 1, std::byte{0x55});
    const Status decoded = decoder.decode(GetParam(), frame, std::span(out).first(size));
    ASSERT_FALSE(decoded) << size;
    EXPECT_EQ(decoded.error().kind, ErrorKind::kCorrupt);
    EXPECT_EQ(out.back(), std::byte{0x55});
  }
}

TEST_P(E2bFrames, EveryTruncationIsRefused) {
  const auto data = some_data(3000);
  const auto frame = frame_of(GetParam(), data);
  FrameDecoder decoder;
  std::vector<std::byte> out(data.size());
  for (std::size_t size = 0; size < frame.size(); ++size) {
    EXPECT_FALSE(decoder.decode(GetParam(), std::span(frame).first(size), out)) << size;
  }
}

TEST_P(E2bFrames, EveryFlipIsRefusedOrHarmless) {
  const auto data = some_data(3000);
  auto frame = frame_of(GetParam(), data);
  FrameDecoder decoder;
  std::vector<std::byte> out(data.size());
  for (std::size_t i = 0; i < frame.size(); ++i) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      frame[i] ^= std::byte{1} << bit;
      if (decoder.decode(GetParam(), frame, out)) {
        EXPECT_EQ(out, data) << i;
      }
      frame[i] ^= std::byte{1} << bit;
    }
  }
}

TEST_P(E2bFrames, WhatFollowsIsRefused) {
  const auto data = some_data(3000);
  auto frame = frame_of(GetParam(), data);
  FrameDecoder decoder;
  std::vector<std::byte> out(data.size());
  frame.push_back(std::byte{0});
  EXPECT_FALSE(decoder.decode(GetParam(), frame, out));
  // Two frames, which zstd itself would take for one.
  frame.pop_back();
  const auto second = frame;
  frame.insert(frame.end(), second.begin(), second.end());
  out.resize(2 * data.size());
  EXPECT_FALSE(decoder.decode(GetParam(), frame, out));
}

INSTANTIATE_TEST_SUITE_P(Compressions, E2bFrames,
                         testing::Values(Compression::kZstd, Compression::kLz4),
                         [](const auto& tested) {
                           return tested.param == Compression::kZstd ? "Zstd" : "Lz4";
                         });

/// As densely as LZ4 can: the bound on what a frame can hold must not refuse it.
TEST(E2bHeaderFrame, ZerosComeBack) {
  const std::vector<std::byte> zeros(std::size_t{16} << 20);
  const auto frame = encode_header_frame(zeros);
  ASSERT_TRUE(frame);
  FrameDecoder decoder;
  const auto decoded = decoder.decode_lz4(*frame, zeros.size());
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, zeros);
}

TEST(E2bHeaderFrame, SizesThatAreLiesAreRefused) {
  const auto data = some_data(20'000);
  const auto frame = encode_header_frame(data);
  ASSERT_TRUE(frame);
  FrameDecoder decoder;
  const auto decoded = decoder.decode_lz4(*frame, data.size());
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, data);
  for (const std::uint64_t size : {0UL, 1UL, 19'999UL, 20'001UL, 256UL << 20}) {
    EXPECT_FALSE(decoder.decode_lz4(*frame, size)) << size;
  }
}

}  // namespace
}  // namespace lamina::e2b
