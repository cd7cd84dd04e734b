#include "engine/layer_writer.h"

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"

namespace lamina::engine {

format::Trailer describe_layer(const mapping::Mapping& state, const Uuid& build_id,
                               std::vector<mapping::StoredExtent> stored,
                               format::LayerLayout layout, std::uint64_t memory_bytes) {
  format::Trailer trailer;
  trailer.build_id = build_id;
  trailer.memory_bytes = memory_bytes;
  trailer.layout = layout;
  trailer.extents = std::move(stored);
  const std::uint64_t stored_blocks = format::set_positions(trailer);
  trailer.data_blocks =
      layout == format::LayerLayout::kCompact ? stored_blocks : blocks_for(memory_bytes);
  for (const Uuid& layer : state.layers()) {
    if (layer == build_id) continue;
    trailer.chain.push_back(layer);
  }
  if (!trailer.chain.empty()) trailer.parent = trailer.chain.back();
  for (std::size_t i = 0; i < state.extent_count(); ++i) {
    const mapping::Extent extent = state.extent(i);
    if (extent.layer == mapping::kZeros) {
      trailer.zeros.push_back(extent.guest_run());
    }
  }
  return trailer;
}

Status finish_layer_unsynced(int fd, const format::Trailer& trailer, const std::string& path) {
  const std::vector<std::byte> bytes = format::encode_trailer(trailer);
  const std::uint64_t data_bytes = trailer.data_blocks * kBlockBytes;
  // The checksums must exist before the first call that may write data back and fail, which on xfs
  // includes a truncation: only they show afterwards what was lost. Data that ends within a block
  // is padded by writing the trailer behind it.
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(fd, path));
  if (facts.size_bytes > data_bytes) {
    LAMINA_RETURN_IF_ERROR(os::truncate(fd, data_bytes, path));
  }
  return os::write_at(fd, bytes, data_bytes, path);
}

Status finish_layer(int fd, const format::Trailer& trailer, const std::string& path) {
  LAMINA_RETURN_IF_ERROR(finish_layer_unsynced(fd, trailer, path));
  return os::sync(fd, path);
}

}  // namespace lamina::engine
