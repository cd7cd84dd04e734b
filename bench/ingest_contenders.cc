#include "ingest_contenders.h"

#include <fmt/format.h>

#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "snapshot_check.h"
#include "store/snapshot_directory.h"

namespace lamina::bench {

DiffContenders::DiffContenders(std::string directory, SnapshotChain parent,
                               std::vector<DirtyRun> diff)
    : directory_(std::move(directory)),
      parent_(std::move(parent)),
      diff_(std::move(diff)),
      memory_(parent_.memory),
      plain_memory_(parent_.memory),
      plain_out_{directory_ + "/plain", directory_ + "/plain.header"} {
  memory_.apply(diff_, WrittenZeros::kClear);
  plain_memory_.apply(diff_, WrittenZeros::kInherit);
  for (const DirtyRun& run : diff_) dirty_blocks_ += run.block_count;
}

std::string DiffContenders::description() const {
  return fmt::format("{} dirty blocks in {} runs", dirty_blocks_, diff_.size());
}

std::uint64_t DiffContenders::memory_bytes() const { return memory_.block_count() * kBlockBytes; }

Status DiffContenders::write_input(Cached cached) const {
  LAMINA_RETURN_IF_ERROR(remove_all(memory_file()));
  LAMINA_RETURN_IF_ERROR(
      write_diff_file(memory_file(), memory_.block_count(), diff_, memory_.contents()));
  return cached == Cached::kHolesToo ? read_whole_file(memory_file()) : Status{};
}

Status DiffContenders::bare_ingest(Layout layout) const {
  SyncPattern syncs;
  syncs.probes_holes = true;
  syncs.adopts = layout == Layout::kAdopted;
  syncs.memory_bytes = memory_bytes();
  syncs.sizes = {dirty_blocks_ * 8 + diff_.size() * 8, diff_.size() * 20};
  if (syncs.adopts) {
    LAMINA_RETURN_IF_ERROR(read_data_extents(memory_file()));
    return do_ingest_syncs(sync_store(), memory_file(), syncs);
  }
  const std::string copy = directory_ + "/copy";
  LAMINA_RETURN_IF_ERROR(copy_data_extents(memory_file(), copy));
  return do_ingest_syncs(sync_store(), copy, syncs);
}

Contender DiffContenders::plain(Cached cached) {
  return {"plain", [this, cached] { return write_input(cached); },
          [this]() -> Status {
            LAMINA_ASSIGN_OR_RETURN(plain_header_, plain_ingest_diff(memory_file(), plain_out_,
                                                                     parent_.plain_header, build_));
            return {};
          },
          [this] {
            auto files = parent_.plain_files;
            files[build_.to_string()] = plain_out_.data;
            return check_plain(plain_header_, files, plain_memory_);
          },
          [this] { return remove_all(plain_out_.data); }};
}

Contender DiffContenders::ours(Layout layout, Cached cached) {
  return {"ours", [this, cached] { return write_input(cached); },
          [this, layout]() -> Status {
            IngestOptions options;
            options.memory_file = memory_file();
            options.snapshot = snapshot();
            options.parent = parent_.youngest;
            options.layout = layout;
            // A diff of all of the memory has no hole to tell written zeros by.
            options.zeros = Zeros::kWritten;
            LAMINA_RETURN_IF_ERROR(ingest(options));
            return {};
          },
          [this] { return check_snapshot(snapshot(), memory_); },
          [this] { return remove_all(snapshot()); }};
}

Contender DiffContenders::floor(Layout layout, Cached cached) {
  return {"floor",
          [this, cached]() -> Status {
            LAMINA_RETURN_IF_ERROR(write_input(cached));
            return make_sync_store(sync_store());
          },
          [this, layout] { return bare_ingest(layout); },
          {},
          [this] { return remove_all(sync_store()); }};
}

Contender DiffContenders::walk_and_read(Cached cached) {
  return {"walk and read",
          [this, cached] { return write_input(cached); },
          [this] { return read_data_extents(memory_file()); },
          {},
          {}};
}

Contender DiffContenders::open_parent() {
  return {
      "open",
      {},
      [this]() -> Status {
        LAMINA_RETURN_IF_ERROR(store::open_snapshot(parent_.youngest, engine::Checksums::kSkip));
        return {};
      },
      {},
      {}};
}

}  // namespace lamina::bench
