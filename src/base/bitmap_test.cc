#include "base/bitmap.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace lamina {
namespace {

TEST(Bitmap, WriteBitsChangesExactlyTheRange) {
  constexpr std::size_t kBits = 3 * kBitsPerWord;
  for (const bool value : {true, false}) {
    for (std::size_t first = 0; first < kBits; ++first) {
      for (std::size_t end = first; end <= kBits; ++end) {
        std::array<std::uint64_t, 3> words{};
        if (!value) words.fill(~std::uint64_t{0});
        write_bits(words, first, end, value);
        for (std::size_t bit = 0; bit < kBits; ++bit) {
          const bool inside = bit >= first && bit < end;
          ASSERT_EQ(is_bit_set(words, bit), inside == value) << first << " " << end << " " << bit;
        }
      }
    }
  }
}

}  // namespace
}  // namespace lamina
