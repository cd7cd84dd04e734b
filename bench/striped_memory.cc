#include "striped_memory.h"

#include <algorithm>

#include "base/error.h"

namespace lamina::bench {

std::vector<DirtyRun> spread_runs(std::uint32_t blocks, std::uint32_t count,
                                  std::uint32_t run_blocks, std::uint32_t version) {
  std::vector<DirtyRun> runs;
  for (std::uint64_t i = 0; i < count; ++i) {
    runs.push_back({static_cast<std::uint32_t>(i * blocks / count), run_blocks, version});
  }
  return runs;
}

GuestMemory full_of_data(std::uint32_t blocks) {
  GuestMemory memory = GuestMemory::zeros(blocks);
  memory.apply({{0, blocks, 1}}, WrittenZeros::kClear);
  return memory;
}

Result<SnapshotChain> build_striped_chain(const std::string& directory, const Stripes& stripes,
                                          ChainBuilder::Plain plain) {
  LAMINA_ASSIGN_OR_RETURN(ChainBuilder builder,
                          ChainBuilder::start(directory, full_of_data(stripes.blocks),
                                              ChainBuilder::Base::kSparse, plain));
  const std::uint32_t stride = stripes.layers * stripes.run_blocks;
  for (std::uint32_t layer = 1; layer < stripes.layers; ++layer) {
    std::vector<DirtyRun> diff;
    for (std::uint32_t block = layer * stripes.run_blocks; block < stripes.blocks;
         block += stride) {
      diff.push_back({block, std::min(stripes.run_blocks, stripes.blocks - block), layer + 1});
    }
    LAMINA_RETURN_IF_ERROR(builder.add(diff));
  }
  return builder.take();
}

}  // namespace lamina::bench
