// The guest's side of its memory: pages that are written, cleared, read and given back, what each
// must hold, and which are dirty.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "stand_ins/firecracker/guest_mapping.h"
#include "stand_ins/firecracker/page_model.h"

namespace lamina::tests {

/// How dirty pages are known.
struct DirtyTracking {
  bool tracked = true;           ///< else the dirty pages are the resident ones
  bool reads_are_dirty = false;  ///< a page that was only read counts as well
};

/// Safe to use from several threads: neighbouring pages share a lock.
class Guest {
 public:
  Guest(GuestMapping mapping, PageModel model, DirtyTracking tracking);

  /// The pages that the guest has; the mapping has those of unplugged memory behind them.
  [[nodiscard]] std::size_t pages() const { return model_.size(); }
  [[nodiscard]] const GuestMapping& mapping() const { return mapping_; }
  [[nodiscard]] const PageModel& model() const { return model_; }
  [[nodiscard]] bool is_tracked() const { return tracking_.tracked; }

  // What the guest does. A page is marked dirty before it is written.

  /// Writes the content of `seed`; 0 clears the page.
  void write(std::size_t page, std::uint64_t seed);
  /// Reads a page and compares it. False: it is wrong, which first_wrong() tells for ever after.
  bool read(std::size_t page);
  /// Gives pages back. They are not marked dirty by it.
  void balloon(std::size_t first, std::size_t count);

  // What the VMM does; none of it makes a page dirty.

  /// The dirty pages now.
  [[nodiscard]] std::vector<bool> dirty() const;
  void clear_dirty();
  void mark_dirty(std::size_t page) { dirty_[page].store(true); }
  /// Stores the first bytes that a page must hold, without reading it first.
  void store_again(std::size_t page);
  /// PageModel::remember() for every page.
  void remember_pages();
  /// Compares every byte; what is wrong first, or was before.
  std::optional<std::string> check();
  [[nodiscard]] std::optional<std::string> first_wrong() const;
  /// CRC-32 of the memory as it must be, with zeros where it was given back.
  std::uint32_t digest();

 private:
  static constexpr std::size_t kPagesPerLock = 64;
  std::mutex& lock_of(std::size_t page) { return locks_[page / kPagesPerLock % locks_.size()]; }
  bool compare(std::size_t page);

  GuestMapping mapping_;
  PageModel model_;
  DirtyTracking tracking_;
  std::unique_ptr<std::atomic<bool>[]> dirty_;
  std::array<std::mutex, 64> locks_;
  mutable std::mutex wrong_mutex_;
  std::optional<std::string> first_wrong_;
};

}  // namespace lamina::tests
