#include "engine/check.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/block.h"
#include "base/error.h"
#include "engine/block_scan.h"
#include "engine/page_cache_policy.h"
#include "engine/transfer.h"
#include "os/file.h"

namespace lamina::engine {
namespace {

/// True if the mapping reads `guest_block` from layer `index`.
bool is_live(const mapping::Mapping& mapping, mapping::LayerIndex index,
             std::uint32_t guest_block) {
  return mapping.resolve(guest_block).layer == index;
}

/// Adds `block`, an extent of one block, to the run before it if both are wrong in the same way.
void add_wrong(LayerCheck& check, const mapping::Extent& block, bool live,
               const std::string& cause) {
  ++check.wrong_blocks;
  if (live) ++check.wrong_live_blocks;
  const auto live_blocks = static_cast<std::uint32_t>(live ? 1 : 0);
  if (!check.wrong.empty()) {
    WrongBlocks& last = check.wrong.back();
    if (last.extent.guest_end() == block.guest_block &&
        last.extent.storage_block + last.extent.block_count == block.storage_block &&
        last.cause == cause) {
      ++last.extent.block_count;
      last.live_blocks += live_blocks;
      return;
    }
  }
  if (check.wrong.size() < kMaxReported) {
    check.wrong.push_back({block, live_blocks, cause});
  }
}

void add_different(Comparison& comparison, std::uint32_t block) {
  ++comparison.different_blocks;
  std::vector<BlockRun>& runs = comparison.different;
  if (!runs.empty() && runs.back().end() == block) {
    ++runs.back().count;
  } else if (runs.size() < kMaxReported) {
    runs.push_back({block, 1});
  }
}

}  // namespace

Result<LayerCheck> check_layer(const Chain& chain, mapping::LayerIndex index, Progress* progress) {
  const Layer& layer = chain.layer(index);
  LayerCheck check;
  if (!layer.trailer()) {
    check.unchecked_blocks = layer.data_blocks();
    return check;
  }
  const format::Trailer& trailer = *layer.trailer();
  std::vector<mapping::Extent> runs;
  runs.reserve(trailer.extents.size());
  for (const mapping::StoredExtent& extent : trailer.extents) {
    runs.push_back({extent.guest_block, extent.block_count, index, extent.storage_block});
  }
  PageCachePolicy cache_policy(chain, runs, -1);
  std::vector<std::byte> buffer(kChunkBlocks * kBlockBytes);
  for (const mapping::StoredExtent& extent : trailer.extents) {
    for (std::uint32_t done = 0; done < extent.block_count;) {
      const std::uint32_t count = std::min(kChunkBlocks, extent.block_count - done);
      const auto chunk = std::span(buffer).first(count * kBlockBytes);
      cache_policy.before_read(check.checked_blocks);
      const Status read = layer.read_unchecked(extent.storage_block + done, chunk);
      for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint64_t expected = trailer.checksums[extent.checksum_index + done + i];
        const bool right =
            read && block_checksum(chunk.subspan(i * kBlockBytes, kBlockBytes)) == expected;
        if (right) continue;
        const std::uint32_t guest = extent.guest_block + done + i;
        add_wrong(check, {guest, 1, index, extent.storage_block + done + i},
                  is_live(chain.mapping(), index, guest),
                  read ? std::string("wrong checksum") : read.error().message);
      }
      check.checked_blocks += count;
      cache_policy.after_read(
          {extent.guest_block + done, count, index, extent.storage_block + done},
          check.checked_blocks);
      done += count;
      LAMINA_RETURN_IF_ERROR(advance(progress, count * kBlockBytes));
    }
  }
  LAMINA_RETURN_IF_ERROR(cache_policy.finish(check.checked_blocks));
  return check;
}

Status check_stored(const Layer& layer) {
  if (!layer.trailer()) return {};
  std::vector<std::byte> buffer(kChunkBlocks * kBlockBytes);
  for (const mapping::StoredExtent& extent : layer.trailer()->extents) {
    for (std::uint32_t done = 0; done < extent.block_count;) {
      const std::uint32_t count = std::min(kChunkBlocks, extent.block_count - done);
      // read_checked() does not use the layer index.
      const mapping::Extent part{extent.guest_block + done, count, mapping::kZeros,
                                 extent.storage_block + done};
      LAMINA_RETURN_IF_ERROR(
          layer.read_checked(part, std::span(buffer).first(count * kBlockBytes)));
      done += count;
    }
  }
  return {};
}

Result<Comparison> compare_with_file(const Chain& chain, std::uint64_t memory_bytes, int fd,
                                     const std::string& path, Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(fd, path));
  if (facts.size_bytes != memory_bytes) {
    return fail(ErrorKind::kFailed, "'{}' has {} bytes, but the snapshot's memory has {}", path,
                facts.size_bytes, memory_bytes);
  }
  if (progress != nullptr) progress->begin("comparing", memory_bytes);
  const std::uint32_t blocks = chain.mapping().block_count();
  std::vector<std::byte> ours(kChunkBlocks * kBlockBytes);
  std::vector<std::byte> theirs(ours.size());
  Comparison comparison;
  for (std::uint32_t block = 0; block < blocks;) {
    const std::uint32_t count = std::min(kChunkBlocks, blocks - block);
    const auto expected = std::span(theirs).first(count * kBlockBytes);
    std::fill(expected.begin(), expected.end(), std::byte{0});
    LAMINA_RETURN_IF_ERROR(os::read_at(fd, expected, block * kBlockBytes, path));
    LAMINA_RETURN_IF_ERROR(
        chain.read(block, std::span(ours).first(expected.size()), Chain::Check::kNone));
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::size_t offset = i * kBlockBytes;
      if (std::memcmp(&ours[offset], &theirs[offset], kBlockBytes) == 0) continue;
      add_different(comparison, block + i);
    }
    comparison.compared_blocks += count;
    block += count;
    LAMINA_RETURN_IF_ERROR(advance(progress, count * kBlockBytes));
  }
  return comparison;
}

}  // namespace lamina::engine
