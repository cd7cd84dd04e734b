// The memory of a stand-in VM: a plain array with one number for each page, from which the page's
// contents follow. It costs 8 bytes a page, and what a store gives back is compared with it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fleet/plan.h"
#include "lamina/result.h"
#include "lamina/snapshot.h"

namespace lamina::bench::fleet {

class Guest {
 public:
  /// All zeros.
  explicit Guest(std::uint32_t pages) : values_(pages, 0), dirty_(pages, 0) {}

  /// Fills a quarter of the memory, in runs, with pages that no other guest has.
  void boot(Random& random);

  /// What the guest does between two pauses.
  void run(const mapping::GuestShape& shape, Random& random);

  /// Writes a memory file as the VMM does, and forgets what was dirty. Full: all pages that are not
  /// zeros. Else a diff: holes where nothing is dirty. The file must not exist.
  Status write_file(const std::string& path, bool full);

  [[nodiscard]] std::uint64_t dirty_pages() const;

  /// Compares pages with what a snapshot gives back; every `step`th page from `first` on.
  [[nodiscard]] Status check(const SnapshotReader& reader, std::uint32_t first,
                             std::uint32_t step) const;

  /// One number for each page; equal numbers are equal pages, 0 is zeros.
  [[nodiscard]] const std::vector<std::uint64_t>& values() const { return values_; }

 private:
  std::vector<std::uint64_t> values_;
  std::vector<char> dirty_;
};

}  // namespace lamina::bench::fleet
