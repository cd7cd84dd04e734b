#include "engine/materialize_data.h"

#include <algorithm>
#include <span>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "engine/page_cache_policy.h"
#include "engine/transfer.h"
#include "engine/write_behind.h"
#include "os/file.h"
#include "os/range_copy.h"

namespace lamina::engine {
namespace {

std::vector<mapping::Extent> data_extents_of(const mapping::Mapping& mapping) {
  std::vector<mapping::Extent> extents;
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const mapping::Extent extent = mapping.extent(i);
    if (extent.layer == mapping::kZeros) continue;
    extents.push_back({extent.guest_block, extent.block_count, extent.layer, extent.storage_block});
  }
  return extents;
}

class Materializer {
 public:
  Materializer(const Chain& chain, const MaterializeTarget& target)
      : chain_(chain),
        target_(target),
        clone_(target.sharing != Sharing::kNever),
        buffer_(kChunkBlocks * kBlockBytes),
        extents_(data_extents_of(chain.mapping())),
        // -1: the VM maps the destination next, so it stays cached.
        cache_policy_(chain, extents_, -1),
        behind_(target.destination) {}

  Result<MaterializedData> run() {
    if (target_.progress != nullptr) {
      std::uint64_t blocks = 0;
      for (const mapping::Extent& extent : extents_) blocks += extent.block_count;
      target_.progress->begin("writing memory", blocks * kBlockBytes);
    }
    for (const mapping::Extent& extent : extents_) {
      LAMINA_RETURN_IF_ERROR(
          add({extent.guest_block, extent.block_count, extent.layer, extent.storage_block}));
    }
    LAMINA_RETURN_IF_ERROR(flush());
    LAMINA_RETURN_IF_ERROR(cache_policy_.finish(read_blocks_));
    LAMINA_RETURN_IF_ERROR(os::truncate(target_.destination, target_.memory_bytes, target_.path));
    return done_;
  }

 private:
  Status add(mapping::Extent extent) {
    // The short last block of a layer without trailer cannot be cloned: clones end at a block
    // boundary.
    const Layer& layer = chain_.layer(extent.layer);
    const bool ends_short =
        (std::uint64_t{extent.storage_block} + extent.block_count) * kBlockBytes >
        layer.facts().size_bytes;
    if (!ends_short) return add_part(extent, clone_);
    mapping::Extent last = extent;
    last.guest_block += extent.block_count - 1;
    last.storage_block += extent.block_count - 1;
    last.block_count = 1;
    extent.block_count -= 1;
    if (extent.block_count > 0) LAMINA_RETURN_IF_ERROR(add_part(extent, clone_));
    return add_part(last, false);
  }

  Status add_part(const mapping::Extent& extent, bool clone) {
    bool cloned = false;
    // Short runs too: copying them is cheaper than the call, but a copy must be synced later.
    if (clone) {
      LAMINA_ASSIGN_OR_RETURN(
          cloned,
          os::clone_range(chain_.layer(extent.layer).fd(), extent.storage_block * kBlockBytes,
                          target_.destination, extent.guest_block * kBlockBytes,
                          extent.block_count * kBlockBytes, target_.path));
      if (!cloned && target_.sharing == Sharing::kAlways) {
        return with_remedy(
            fail(ErrorKind::kUnsupported, "'{}' cannot share storage with layer '{}'", target_.path,
                 chain_.layer(extent.layer).path()),
            "put both on one file system with reflink, or set `reflink=auto`");
      }
      clone_ = cloned;
    }
    for (std::uint32_t done = 0; done < extent.block_count;) {
      LAMINA_ASSIGN_OR_RETURN(const std::uint32_t count, read_part(extent, done, cloned));
      done += count;
      LAMINA_RETURN_IF_ERROR(advance(target_.progress, count * kBlockBytes));
    }
    (cloned ? done_.cloned_bytes : done_.copied_bytes) += extent.block_count * kBlockBytes;
    return {};
  }

  /// Reads and verifies the next part of `extent` in the buffer. A part that was not cloned stays
  /// there until flush(), together with adjacent guest blocks.
  Result<std::uint32_t> read_part(const mapping::Extent& extent, std::uint32_t done, bool cloned) {
    const std::uint32_t guest = extent.guest_block + done;
    if (cloned || used_blocks_ == kChunkBlocks || guest != buffer_guest_block_ + used_blocks_) {
      LAMINA_RETURN_IF_ERROR(flush());
      buffer_guest_block_ = guest;
    }
    const std::uint32_t count = std::min(extent.block_count - done, kChunkBlocks - used_blocks_);
    cache_policy_.before_read(read_blocks_);
    const auto room = std::span(buffer_).subspan(used_blocks_ * kBlockBytes, count * kBlockBytes);
    LAMINA_RETURN_IF_ERROR(
        chain_.layer(extent.layer)
            .read_checked({guest, count, extent.layer, extent.storage_block + done}, room));
    read_blocks_ += count;
    cache_policy_.after_read({guest, count, extent.layer, extent.storage_block + done},
                             read_blocks_);
    if (!cloned) used_blocks_ += count;
    return count;
  }

  Status flush() {
    const auto bytes = std::span(buffer_).first(used_blocks_ * kBlockBytes);
    used_blocks_ = 0;
    if (bytes.empty()) return {};
    const std::uint64_t offset = buffer_guest_block_ * kBlockBytes;
    LAMINA_RETURN_IF_ERROR(os::write_at(target_.destination, bytes, offset, target_.path));
    behind_.written_until(offset + bytes.size());
    return {};
  }

  const Chain& chain_;
  const MaterializeTarget& target_;
  bool clone_;
  std::vector<std::byte> buffer_;
  std::vector<mapping::Extent> extents_;
  PageCachePolicy cache_policy_;
  WriteBehind behind_;
  std::uint64_t read_blocks_ = 0;
  std::uint32_t buffer_guest_block_ = 0;
  std::uint32_t used_blocks_ = 0;
  MaterializedData done_;
};

}  // namespace

Result<MaterializedData> materialize_data(const Chain& chain, const MaterializeTarget& target) {
  return Materializer(chain, target).run();
}

}  // namespace lamina::engine
