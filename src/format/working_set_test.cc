#include "format/working_set.h"

#include <gtest/gtest.h>

namespace lamina::format {
namespace {

constexpr std::uint64_t kMemoryBytes = 1000 * 4096 + 5;

WorkingSet example() { return {kMemoryBytes, {{7, 3}, {900, 101}, {0, 1}, {8, 1}}}; }

TEST(WorkingSet, RoundTrips) {
  const WorkingSet written = example();
  const auto read = decode_working_set(encode_working_set(written));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, written);
  EXPECT_TRUE(decode_working_set(encode_working_set({kMemoryBytes, {}})));
}

TEST(WorkingSet, BytesMatchTheDocumentation) {
  const auto bytes = encode_working_set({4096, {{0, 1}}});
  const std::vector<std::uint8_t> expected = {
      'L', 'A',  'M', 'I', 'N', 'A', 'W', 'S',  // magic
      1,   0,    0,   0,   1,   0,   0,   0,    // version, runs
      0,   0x10, 0,   0,   0,   0,   0,   0,    // memory bytes
      0,   0,    0,   0,   0,   0,   0,   0,    // reserved
      0,   0,    0,   0,   1,   0,   0,   0};   // one run
  ASSERT_EQ(bytes.size(), expected.size() + 8);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(std::to_integer<std::uint8_t>(bytes[i]), expected[i]) << i;
  }
}

TEST(WorkingSet, EveryTruncationIsRejected) {
  const auto bytes = encode_working_set(example());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decode_working_set(std::span(bytes).first(length))) << length;
  }
}

TEST(WorkingSet, EveryBitFlipIsRejected) {
  auto bytes = encode_working_set(example());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      bytes[i] ^= std::byte{1} << bit;
      EXPECT_FALSE(decode_working_set(bytes)) << i << "." << bit;
      bytes[i] ^= std::byte{1} << bit;
    }
  }
}

TEST(WorkingSet, RunsOutsideTheMemoryAreRejected) {
  for (const BlockRun run :
       {BlockRun{1000, 2}, BlockRun{1001, 1}, BlockRun{0, 0}, BlockRun{0xffff'ffff, 0xffff'ffff}}) {
    const auto read = decode_working_set(encode_working_set({kMemoryBytes, {run}}));
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().message.find("not in memory"), std::string::npos);
  }
}

}  // namespace
}  // namespace lamina::format
