// Ranges of bits in an array of words. Bit 0 is the lowest bit of the first word.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace lamina {

inline constexpr std::size_t kBitsPerWord = 64;

[[nodiscard]] inline bool is_bit_set(std::span<const std::uint64_t> words, std::size_t bit) {
  return ((words[bit / kBitsPerWord] >> (bit % kBitsPerWord)) & 1U) != 0;
}

/// Sets the bits [first, end) to `value`. REQUIRES: they are in `words`.
inline void write_bits(std::span<std::uint64_t> words, std::size_t first, std::size_t end,
                       bool value) {
  while (first < end) {
    const std::size_t in_word = first % kBitsPerWord;
    const std::size_t count = std::min(kBitsPerWord - in_word, end - first);
    const std::uint64_t mask = (~std::uint64_t{0} >> (kBitsPerWord - count)) << in_word;
    std::uint64_t& word = words[first / kBitsPerWord];
    word = value ? word | mask : word & ~mask;
    first += count;
  }
}

/// Clears the bits [first, end). Words that are zero are not written, so memory that was never
/// touched stays unallocated. REQUIRES: the bits are in `words`.
inline void clear_bits(std::span<std::uint64_t> words, std::size_t first, std::size_t end) {
  while (first < end) {
    const std::size_t in_word = first % kBitsPerWord;
    const std::size_t count = std::min(kBitsPerWord - in_word, end - first);
    if (words[first / kBitsPerWord] != 0) write_bits(words, first, first + count, false);
    first += count;
  }
}

}  // namespace lamina
