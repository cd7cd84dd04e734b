#include "engine/chain.h"

#include <algorithm>
#include <cassert>

#include "base/block.h"
#include "base/error.h"

namespace lamina::engine {

Result<Chain> Chain::create(mapping::Mapping mapping, std::vector<Layer> layers) {
  assert(layers.size() == mapping.layers().size());
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const mapping::Extent extent = mapping.extent(i);
    if (extent.layer == mapping::kZeros) continue;
    LAMINA_RETURN_IF_ERROR(layers[extent.layer - 1U].check_extent(extent));
  }
  return Chain(std::move(mapping), std::move(layers));
}

Status Chain::read(std::uint32_t block, std::span<std::byte> buffer, Check check) const {
  const auto blocks = static_cast<std::uint32_t>(buffer.size() / kBlockBytes);
  assert(std::uint64_t{block} + blocks <= mapping_.block_count());
  for (std::uint32_t done = 0; done < blocks;) {
    mapping::Extent run = mapping_.resolve(block + done);
    run.block_count = std::min(run.block_count, blocks - done);
    const auto part = buffer.subspan(done * kBlockBytes, run.block_count * kBlockBytes);
    if (run.layer == mapping::kZeros) {
      std::fill(part.begin(), part.end(), std::byte{0});
    } else if (check == Check::kChecksums) {
      LAMINA_RETURN_IF_ERROR(layer(run.layer).read_checked(run, part));
    } else {
      LAMINA_RETURN_IF_ERROR(layer(run.layer).read_unchecked(run.storage_block, part));
    }
    done += run.block_count;
  }
  return {};
}

}  // namespace lamina::engine
