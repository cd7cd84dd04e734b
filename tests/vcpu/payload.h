// What the small virtual machine executes, and a model of it that runs natively.
//
// The payload is 64-bit code of the least privileged ring (a nested KVM may emulate the other
// rings, far slower). It draws pages of its working area with a linear congruential generator; of
// eight steps, on average
//
//   4  read a word                          the page is only read
//   1  write a word back as it was          the page is written and the same
//   1  clear the page                       most often it changes; all zeros
//   2  change a word                        the page changes
//
// Every step reads a word first and adds it to checksums in a register and in an XMM register, so a
// page that was wrong for one read shows for ever. After kChunkSteps steps it exits by port I/O;
// that is where the monitor can pause it.
//
// The monitor may give pages back between chunks, as a balloon does: the guest then reads zeros
// there. Which pages follows from the number of the chunk.
//
// The model does the same to an array. It says what memory and registers must be after any number
// of steps and, what no dirty log can tell, which pages were written and which only read.
//
// Memory, by offset in the memory file, which is also the payload's virtual address:
//
//   0x1000        page tables, 2 MiB pages, accessed and dirty bits set
//   0x8000        the payload
//   2 MiB ...     working area
//
// The accessed and dirty bits are those of a guest that has run for long, as every restored one
// has. With them KVM maps a page that is read as writable where it can, and then has it in its
// dirty log: with clear bits that would not show.
//
// Guest-physical memory has a gap, as that of a microVM over 3 GiB has: two regions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lamina::tests {

inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::size_t kLargePageBytes = std::size_t{2} << 20;
inline constexpr std::size_t kMinMemoryBytes = std::size_t{8} << 20;
inline constexpr std::size_t kMaxMemoryBytes = std::size_t{1} << 30;  // one page directory
inline constexpr std::uint64_t kChunkSteps = 256;
inline constexpr std::uint16_t kChunkPort = 0xf1;

inline constexpr std::uint64_t kPageTablesAddress = 0x1000;
inline constexpr std::uint64_t kCodeAddress = 0x8000;
inline constexpr std::uint64_t kWorkAddress = kLargePageBytes;
inline constexpr std::uint64_t kSecondRegionAddress = std::uint64_t{4} << 30;

inline constexpr std::uint64_t kMultiplier = 6364136223846793005U;
inline constexpr std::uint64_t kIncrement = 1442695040888963407U;
inline constexpr std::uint64_t kFirstRandom = 12345;

/// The sizes of the two regions that make up a memory.
constexpr std::array<std::size_t, 2> region_bytes(std::size_t memory_bytes) {
  const std::size_t first = memory_bytes * 5 / 8 / kLargePageBytes * kLargePageBytes;
  return {first, memory_bytes - first};
}

/// What the payload keeps in registers.
struct PayloadRegisters {
  std::uint64_t random = kFirstRandom;  ///< RAX
  std::uint64_t sum = 0;                ///< R10
  std::uint64_t sum_of_sums = 0;        ///< XMM0

  bool operator==(const PayloadRegisters&) const = default;
};

/// What a number of steps did to a page; bits.
enum PageUse : std::uint8_t {
  kRead = 1,
  kWritten = 2,
};

/// The `count` pages that are given back after the chunk `chunk`, counted from the guest's
/// beginning.
std::vector<std::size_t> discarded_pages(std::uint64_t chunk, std::size_t count,
                                         std::size_t memory_bytes);

class PayloadModel {
 public:
  /// A guest that has not run yet; `discards` pages are given back after each chunk. REQUIRES:
  /// kMinMemoryBytes <= memory_bytes <= kMaxMemoryBytes, a multiple of kLargePageBytes.
  PayloadModel(std::size_t memory_bytes, std::size_t discards);

  /// Runs `steps` steps, whole chunks; uses() then tells of these steps only.
  void run(std::uint64_t steps);

  [[nodiscard]] std::span<const std::byte> memory() const {
    return std::as_bytes(std::span(words_));
  }
  [[nodiscard]] std::span<const std::byte> page(std::size_t index) const {
    return memory().subspan(index * kPageBytes, kPageBytes);
  }
  [[nodiscard]] const PayloadRegisters& registers() const { return registers_; }
  /// A PageUse mask per page.
  [[nodiscard]] std::span<const std::uint8_t> uses() const { return uses_; }

 private:
  void step();
  void clear(std::size_t page);

  std::vector<std::uint64_t> words_;
  std::vector<std::uint8_t> uses_;
  PayloadRegisters registers_;
  std::size_t discards_;
  std::uint64_t chunks_done_ = 0;
};

/// A hash over memory and registers that tells any two guests apart.
std::uint64_t checksum(std::span<const std::span<const std::byte>> memory,
                       const PayloadRegisters& registers);

}  // namespace lamina::tests
