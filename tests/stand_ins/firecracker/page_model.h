// What every page of the guest must hold, so that every byte it reads can be compared.
//
// The content of a page is a function of its number and a seed, so eight bytes a page say all of
// it, in this process and, by way of the state file, in the one that resumes the guest. A page that
// was given back (balloon) and not written since may read as zeros or as something that it held
// when a snapshot was created: nothing older is kept anywhere, and nothing younger can come back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "lamina/result.h"
#include "stand_ins/guest_region.h"

namespace lamina::tests {

/// The next number of a random sequence (splitmix64). The state moves by kRandomStep.
inline constexpr std::uint64_t kRandomStep = 0x9e3779b97f4a7c15;
std::uint64_t next_random(std::uint64_t& state);

/// Fills `bytes`, a page, with the content that `seed` stands for: seed 0 is zeros; one seed in
/// eight a page with a single byte that is not zero; all others random bytes. No two pages with
/// seeds other than 0 are equal.
void fill_page(std::span<std::byte> bytes, std::uint64_t page, std::uint64_t seed);

/// The CRC-32 of zlib and Python's `zlib.crc32`, continued from `crc`.
std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t crc = 0);

/// The pages of one guest. Distinct pages may be used from distinct threads at the same time.
class PageModel {
 public:
  explicit PageModel(std::size_t pages) : size_(pages), pages_(pages) {}

  /// Of a guest that is not checked: whatever its pages hold is right. It is small when encoded, as
  /// what a real VMM writes is, so benchmarks use it.
  static PageModel without_record(std::size_t pages);

  [[nodiscard]] std::size_t size() const { return size_; }

  void write(std::size_t page, std::uint64_t seed);
  void discard(std::size_t page);

  /// Whether `have` is what the page may hold.
  [[nodiscard]] bool is_right(std::size_t page, std::span<const std::byte> have) const;

  /// What the page must hold; zeros where it was given back.
  void fill(std::size_t page, std::span<std::byte> bytes) const;
  [[nodiscard]] bool is_discarded(std::size_t page) const;

  /// Keeps what the page holds now as something that may come back after it is given back. Called
  /// for every page when a memory file was written.
  void remember(std::size_t page);

  void encode(ByteWriter& writer) const;
  /// kCorrupt when the bytes are not those of `pages` pages.
  static Result<PageModel> decode(ByteReader& reader, std::size_t pages);

 private:
  struct Page {
    std::uint64_t seed = 0;
    bool discarded = false;
    std::vector<std::uint64_t> remembered;
  };

  std::size_t size_;
  std::vector<Page> pages_;  ///< empty without a record
};

}  // namespace lamina::tests
