// Contenders that ingest one diff over one parent.
//
// The diff is as the VMM leaves it, made anew for every run: the dirty pages written and synced
// (cached, therefore), the holes never read. A program that reads block by block fills the page
// cache with zero pages for all the holes; Cached::kHolesToo measures with that already done.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench.h"
#include "floor_loops.h"
#include "guest_memory.h"
#include "lamina/ingest.h"
#include "lamina/result.h"
#include "plain_reference.h"
#include "snapshot_chain.h"

namespace lamina::bench {

class DiffContenders {
 public:
  enum class Cached : std::uint8_t { kDataOnly, kHolesToo };

  /// Works below `directory`. This object must outlive its contenders.
  DiffContenders(std::string directory, SnapshotChain parent, std::vector<DirtyRun> diff);

  [[nodiscard]] std::string description() const;
  /// The memory, as a pause leaves and a benchmark frees it.
  [[nodiscard]] std::uint64_t memory_bytes() const;

  Contender plain(Cached cached);
  Contender ours(Layout layout, Cached cached);
  /// The extents walked, the data read (and, for a compact layer, written) once, and the syncs.
  Contender floor(Layout layout, Cached cached);
  /// The same without the syncs.
  Contender walk_and_read(Cached cached);
  /// Of ours, the opening of the parent alone.
  Contender open_parent();

 private:
  [[nodiscard]] std::string memory_file() const { return directory_ + "/memory"; }
  [[nodiscard]] std::string snapshot() const { return parent_.store + "/diff"; }
  [[nodiscard]] std::string sync_store() const { return directory_ + "/syncs"; }
  [[nodiscard]] Status write_input(Cached cached) const;
  [[nodiscard]] Status bare_ingest(Layout layout) const;

  std::string directory_;
  SnapshotChain parent_;
  std::vector<DirtyRun> diff_;
  std::uint64_t dirty_blocks_ = 0;
  GuestMemory memory_;
  GuestMemory plain_memory_;
  PlainPaths plain_out_;
  PlainHeader plain_header_;
  Uuid build_ = Uuid::random();
};

}  // namespace lamina::bench
