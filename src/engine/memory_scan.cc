#include "engine/memory_scan.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <span>

#include "base/block.h"
#include "base/error.h"
#include "engine/block_scan.h"
#include "engine/read_back.h"
#include "engine/transfer.h"
#include "engine/write_behind.h"
#include "os/anonymous_mapping.h"
#include "os/file.h"
#include "os/range_copy.h"

namespace lamina::engine {
namespace {

/// Shorter runs are copied, because the clone call costs more than the copy.
constexpr std::uint32_t kMinClonedBlocks = 32;

/// Blocks of a long run that are read at a time: one huge page. A read of 2 MiB takes a quarter
/// less than eight of 256 KiB (docs/decisions/0067-full-ingest.md).
constexpr std::uint32_t kMostReadBlocks = 512;

/// Extends the ranges to whole blocks (a file system with 1 KiB blocks reports smaller ones) and
/// joins adjacent ones.
std::vector<BlockRun> whole_blocks(const std::vector<ByteRange>& extents) {
  std::vector<BlockRun> runs;
  for (const ByteRange& extent : extents) {
    const auto start = static_cast<std::uint32_t>(extent.offset / kBlockBytes);
    const auto end = static_cast<std::uint32_t>(blocks_for(extent.end()));
    if (!runs.empty() && start <= runs.back().end()) {
      runs.back().count = end - runs.back().first;
    } else {
      runs.push_back({start, end - start});
    }
  }
  return runs;
}

class Scanner {
 public:
  explicit Scanner(const MemoryScan& scan)
      : scan_(scan),
        block_count_(static_cast<std::uint32_t>(blocks_for(scan.memory_bytes))),
        behind_(scan.compact_file) {}

  Result<MemoryScanResult> run() {
    os::FileMap map;
    if (scan_.written == nullptr) {
      LAMINA_ASSIGN_OR_RETURN(map, os::map_file(scan_.memory_file, scan_.memory_bytes, scan_.path));
      LAMINA_RETURN_IF_ERROR(check_preallocated(map));
    }
    const std::vector<BlockRun> runs =
        whole_blocks(scan_.written != nullptr ? *scan_.written : map.written);
    has_holes_ = runs.size() != 1 || runs.front().count != block_count_;
    LAMINA_RETURN_IF_ERROR(choose_clone());
    LAMINA_RETURN_IF_ERROR(allocate_buffers(runs));
    begin_progress(runs);

    std::uint32_t done = 0;
    for (const BlockRun& run : runs) {
      add_hole(done, run.first);
      LAMINA_RETURN_IF_ERROR(scan_run(run));
      done = run.end();
    }
    add_hole(done, block_count_);
    if (clone_) LAMINA_RETURN_IF_ERROR(clone_data());
    return std::move(result_);
  }

 private:
  [[nodiscard]] Status check_preallocated(const os::FileMap& map) const {
    if (!scan_.refuse_preallocated) return {};
    if (map.preallocated_is_known && !map.has_preallocated) return {};
    return fail(
        ErrorKind::kFailed,
        "'{}' {} preallocated storage, which this file system does not distinguish from written "
        "zeros; ingest a full memory file, or have the VMM write the diff to a new file{}",
        scan_.path, map.preallocated_is_known ? "has" : "may have",
        map.preallocated_is_known ? "" : " on ext4, xfs, btrfs or tmpfs");
  }

  /// Short runs get a small buffer: a huge page must be cleared before it is used.
  Status allocate_buffers(const std::vector<BlockRun>& runs) {
    const bool has_long_run = std::any_of(
        runs.begin(), runs.end(), [](const BlockRun& run) { return run.count >= kMostReadBlocks; });
    chunk_blocks_ = has_long_run ? kMostReadBlocks : kChunkBlocks;
    const std::size_t bytes = chunk_blocks_ * kBlockBytes;
    LAMINA_ASSIGN_OR_RETURN(
        mapped_,
        os::AnonymousMapping::map(bytes, "a buffer to read memory",
                                  has_long_run ? os::MappedPages::kHuge : os::MappedPages::kSmall));
    buffer_ = mapped_.bytes();
    scans_.resize(chunk_blocks_);
    if (scan_.compare_with_parent) parent_buffer_.resize(bytes);
    return {};
  }

  void begin_progress(const std::vector<BlockRun>& runs) {
    if (scan_.progress == nullptr) return;
    std::uint64_t bytes = 0;
    for (const BlockRun& run : runs) bytes += run.count * kBlockBytes;
    scan_.progress->begin("reading memory", bytes);
  }

  /// Tests whether the compact layer can share storage with the memory file.
  Status choose_clone() {
    if (scan_.compact_file < 0 || scan_.memory_bytes < kBlockBytes) return {};
    LAMINA_ASSIGN_OR_RETURN(clone_, os::clone_range(scan_.memory_file, 0, scan_.compact_file, 0,
                                                    kBlockBytes, scan_.compact_path));
    if (!clone_) return {};
    return os::truncate(scan_.compact_file, 0, scan_.compact_path);
  }

  void add_hole(std::uint32_t from, std::uint32_t to) {
    if (from == to) return;
    if (!scan_.is_full) {
      result_.inherited_blocks += to - from;
      return;
    }
    add_change(from, to - from, mapping::kZeros);
    result_.zero_blocks += to - from;
  }

  /// Adds a change, joined to the last one if they are adjacent in the guest. Then they are
  /// adjacent in storage too: a compact layer grows block by block, and an adopted one has each
  /// block at its guest offset.
  void add_change(std::uint32_t block, std::uint32_t count, mapping::LayerIndex layer) {
    if (!result_.changes.empty()) {
      mapping::Extent& last = result_.changes.back();
      if (last.layer == layer && last.guest_end() == block) {
        last.block_count += count;
        return;
      }
    }
    std::uint32_t storage = 0;
    if (layer != mapping::kZeros) {
      storage = scan_.compact_file >= 0 ? static_cast<std::uint32_t>(result_.stored_blocks) : block;
    }
    result_.changes.push_back({block, count, layer, storage});
  }

  Status scan_run(const BlockRun& run) {
    for (std::uint32_t done = 0; done < run.count;) {
      const std::uint32_t count = std::min(chunk_blocks_, run.count - done);
      LAMINA_RETURN_IF_ERROR(scan_chunk(run.first + done, count));
      done += count;
      LAMINA_RETURN_IF_ERROR(advance(scan_.progress, count * kBlockBytes));
    }
    return {};
  }

  Status scan_chunk(std::uint32_t block, std::uint32_t count) {
    const auto chunk = buffer_.first(count * kBlockBytes);
    LAMINA_RETURN_IF_ERROR(read_chunk(block, chunk));
    scan_blocks(chunk, scans_);
    if (scan_.compare_with_parent) {
      LAMINA_RETURN_IF_ERROR(scan_.parent->read(
          block, std::span(parent_buffer_).first(chunk.size()), Chain::Check::kNone));
    }
    const std::uint64_t stored_before = result_.stored_blocks;
    for (std::uint32_t i = 0; i < count; ++i) {
      if (scans_[i].is_zero) {
        LAMINA_RETURN_IF_ERROR(add_zero(block + i));
      } else if (scan_.compare_with_parent && same_as_parent(i)) {
        add_unchanged(block + i);
      } else {
        add_data(block + i, i, stored_before);
      }
    }
    if (!writes_scanned()) return {};
    const std::uint64_t stored = result_.stored_blocks - stored_before;
    LAMINA_RETURN_IF_ERROR(os::write_at(scan_.compact_file, chunk.first(stored * kBlockBytes),
                                        stored_before * kBlockBytes, scan_.compact_path));
    behind_.written_until(result_.stored_blocks * kBlockBytes);
    return {};
  }

  Status read_chunk(std::uint32_t block, std::span<std::byte> chunk) {
    const std::uint64_t offset = block * kBlockBytes;
    LAMINA_ASSIGN_OR_RETURN(const std::size_t count,
                            os::read_at(scan_.memory_file, chunk, offset, scan_.path));
    if (offset + count < std::min(offset + chunk.size(), scan_.memory_bytes)) {
      return fail(ErrorKind::kFailed, "'{}' shrank from {} bytes while it was read", scan_.path,
                  scan_.memory_bytes);
    }
    // Only the last block of the memory can be short. It is padded with zeros, even if the file has
    // grown meanwhile.
    const std::uint64_t valid = std::min<std::uint64_t>(chunk.size(), scan_.memory_bytes - offset);
    std::fill(chunk.begin() + static_cast<std::ptrdiff_t>(valid), chunk.end(), std::byte{0});
    return {};
  }

  [[nodiscard]] bool same_as_parent(std::uint32_t index) const {
    const std::size_t offset = index * kBlockBytes;
    return std::memcmp(&buffer_[offset], &parent_buffer_[offset], kBlockBytes) == 0;
  }

  void add_unchanged(std::uint32_t block) {
    ++result_.unchanged_blocks;
    auto& runs = result_.unchanged;
    if (!runs.empty() && runs.back().end() == block) {
      ++runs.back().count;
    } else {
      runs.push_back({block, 1});
    }
  }

  Status add_zero(std::uint32_t block) {
    if (scan_.zeros_inherit && !scan_.is_full) {
      ++result_.inherited_blocks;
      return {};
    }
    if (scan_.refuse_ambiguous && !has_holes_ &&
        scan_.parent->mapping().resolve(block).layer != mapping::kZeros) {
      return with_remedy(
          fail(ErrorKind::kFailed,
               "'{}' has no holes, and has zeros at {:#x} where the parent has data: either the "
               "guest cleared that block, or a copy of the file filled its holes",
               scan_.path, block * kBlockBytes),
          "specify which with `zeros=written` or `zeros=inherit`");
    }
    add_change(block, 1, mapping::kZeros);
    ++result_.zero_blocks;
    return {};
  }

  /// True if the data is written from the buffer that was scanned, not adopted or cloned.
  [[nodiscard]] bool writes_scanned() const { return scan_.compact_file >= 0 && !clone_; }

  /// Stores block `index` of the chunk. Blocks that are to be written are moved to the front of the
  /// buffer, so that they are written with one call.
  void add_data(std::uint32_t block, std::uint32_t index, std::uint64_t stored_before) {
    add_change(block, 1, mapping::kNewLayer);
    result_.checksums.push_back(scans_[index].checksum);
    const std::uint64_t slot = result_.stored_blocks - stored_before;
    if (slot != index && writes_scanned()) {
      std::memcpy(&buffer_[slot * kBlockBytes], &buffer_[index * kBlockBytes], kBlockBytes);
    }
    ++result_.stored_blocks;
  }

  Status clone_data() {
    for (const mapping::Extent& change : result_.changes) {
      if (change.layer == mapping::kZeros) continue;
      // A short last block cannot be cloned to a whole block.
      const std::uint32_t whole_blocks_end =
          static_cast<std::uint32_t>(scan_.memory_bytes / kBlockBytes);
      const std::uint32_t cloneable =
          std::min(change.guest_end(), whole_blocks_end) - change.guest_block;
      std::uint32_t done = 0;
      if (cloneable >= kMinClonedBlocks) {
        LAMINA_ASSIGN_OR_RETURN(
            const bool cloned,
            os::clone_range(scan_.memory_file, change.guest_block * kBlockBytes, scan_.compact_file,
                            change.storage_block * kBlockBytes, cloneable * kBlockBytes,
                            scan_.compact_path));
        if (cloned) {
          done = cloneable;
          cloned_.push_back({change.guest_block, cloneable, change.layer, change.storage_block});
        }
        LAMINA_RETURN_IF_ERROR(advance(scan_.progress, 0));
      }
      LAMINA_RETURN_IF_ERROR(copy_checked(change, done));
    }
    return check_clones();
  }

  /// A clone shares the data on the disk, which may differ from the data that was read: if writing
  /// the memory file back has failed, only the cached pages are right. So the clones are verified,
  /// and bad ones are overwritten from the memory file.
  Status check_clones() {
    for (const mapping::Extent& clone : cloned_) {
      const auto checksums =
          std::span(result_.checksums).subspan(clone.storage_block, clone.block_count);
      if (blocks_match(scan_.compact_file, clone.storage_block, checksums, buffer_,
                       scan_.compact_path)) {
        result_.cloned_blocks += clone.block_count;
      } else {
        LAMINA_RETURN_IF_ERROR(copy_checked(clone, 0));
      }
      LAMINA_RETURN_IF_ERROR(advance(scan_.progress, 0));
    }
    return {};
  }

  /// Copies the blocks of `change` from number `done` on through the buffer and verifies them
  /// again.
  Status copy_checked(const mapping::Extent& change, std::uint32_t done) {
    while (done < change.block_count) {
      const std::uint32_t count = std::min(kChunkBlocks, change.block_count - done);
      const auto chunk = buffer_.first(count * kBlockBytes);
      const std::uint32_t storage = change.storage_block + done;
      LAMINA_RETURN_IF_ERROR(read_chunk(change.guest_block + done, chunk));
      for (std::uint32_t i = 0; i < count; ++i) {
        if (block_checksum(chunk.subspan(i * kBlockBytes, kBlockBytes)) !=
            result_.checksums[storage + i]) {
          return fail(ErrorKind::kFailed, "'{}' changed while it was read", scan_.path);
        }
      }
      LAMINA_RETURN_IF_ERROR(
          os::write_at(scan_.compact_file, chunk, storage * kBlockBytes, scan_.compact_path));
      done += count;
      LAMINA_RETURN_IF_ERROR(advance(scan_.progress, 0));
    }
    return {};
  }

  const MemoryScan& scan_;
  std::uint32_t block_count_;
  bool has_holes_ = false;
  bool clone_ = false;
  std::uint32_t chunk_blocks_ = 0;  ///< that fit in the buffer; at least kChunkBlocks
  os::AnonymousMapping mapped_;
  std::span<std::byte> buffer_;  ///< all of mapped_
  std::vector<std::byte> parent_buffer_;
  WriteBehind behind_;
  std::vector<BlockScan> scans_;
  std::vector<mapping::Extent> cloned_;
  MemoryScanResult result_;
};

}  // namespace

Result<MemoryScanResult> scan_memory_file(const MemoryScan& scan) {
  assert(!scan.compare_with_parent || scan.parent != nullptr);
  assert(!scan.refuse_ambiguous || scan.parent != nullptr);
  return Scanner(scan).run();
}

}  // namespace lamina::engine
