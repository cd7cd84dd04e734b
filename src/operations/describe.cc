#include "operations/describe.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>

#include "base/block.h"
#include "format/working_set.h"
#include "mapping/statistics.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/once_mark.h"
#include "store/resume_coverage.h"
#include "store/store_identity.h"

namespace lamina::operations {
namespace {

LayerFileInfo describe_file(const engine::Layer& layer, std::uint64_t live_blocks) {
  LayerFileInfo file;
  file.path = layer.path();
  file.layout = "unknown";
  file.size_bytes = layer.facts().size_bytes;
  file.allocated_bytes = layer.facts().allocated_bytes;
  file.link_count = layer.facts().link_count;
  const std::uint64_t stored = layer.stored_blocks();
  if (layer.trailer()) {
    file.layout = layer.trailer()->layout == format::LayerLayout::kCompact ? "compact" : "adopted";
  }
  file.dead_blocks = stored - std::min(stored, live_blocks);
  return file;
}

/// The directory that a path's last component is in.
std::string directory_of(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// What is known of its resumes. Nothing of that is needed: what cannot be read is left out.
void describe_resumes(const store::OpenSnapshot& snapshot, SnapshotInfo& info) {
  info.once = snapshot.facts && snapshot.facts->once;
  const auto bytes = os::read_if_exists(snapshot.directory.get(), store::kWorkingSetName,
                                        format::max_working_set_bytes(), store::kWorkingSetName);
  if (bytes && *bytes) {
    const auto set = format::decode_working_set(**bytes);
    if (set && set->memory_bytes == info.memory_bytes) {
      for (const BlockRun& run : set->runs) info.working_set_blocks += run.count;
    }
  }
  const std::string path = directory_of(snapshot.path);
  const auto store = os::open_directory(AT_FDCWD, path, path);
  if (!store) return;
  if (const auto consumed = store::consumed_once(store->get(), snapshot.pause_id)) {
    info.is_consumed = consumed->has_value();
  }
  const auto identity = store::identity_of(store->get(), path);
  if (!identity) return;
  info.last_resumes = store::last_coverages(store->get(), *identity, snapshot.pause_id);
}

}  // namespace

SnapshotInfo describe_header(const format::Header& header, const std::string& path) {
  SnapshotInfo info;
  info.path = path;
  info.header = header.format;
  info.build_id = header.build_id;
  info.base_build_id = header.base_build_id;
  if (!header.pause_id.is_nil()) info.pause_id = header.pause_id;
  info.generation = header.generation;
  info.memory_bytes = header.memory_bytes;
  if (header.vmstate) info.vmstate_bytes = header.vmstate->size_bytes;

  const mapping::Mapping& mapping = header.mapping;
  const mapping::Statistics statistics = mapping::statistics_of(mapping);
  info.zero_blocks = statistics.layers[mapping::kZeros].live_blocks;
  info.windows = statistics.windows.windows;
  info.max_extents_per_window = statistics.windows.max_extents;
  info.mean_extents_per_window = statistics.windows.mean_extents;
  for (std::size_t i = 0; i < mapping.layers().size(); ++i) {
    LayerInfo layer;
    layer.build_id = mapping.layers()[i];
    if (header.format == HeaderFormat::kNative) {
      layer.has_checksums = header.layers[i].has_checksums;
    }
    layer.live_blocks = statistics.layers[i + 1].live_blocks;
    layer.extents = statistics.layers[i + 1].extents;
    info.layers.push_back(layer);
  }
  info.extents.reserve(mapping.extent_count());
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const mapping::Extent extent = mapping.extent(i);
    ExtentInfo shown{extent.guest_block * kBlockBytes, extent.block_count * kBlockBytes,
                     std::nullopt, extent.storage_block * kBlockBytes};
    if (extent.layer != mapping::kZeros) shown.layer = extent.layer - 1U;
    info.extents.push_back(shown);
  }
  return info;
}

SnapshotInfo describe_snapshot(const store::OpenSnapshot& snapshot, const std::string& path) {
  SnapshotInfo info = describe_header(snapshot.header, path);
  info.pause_id = snapshot.pause_id;
  if (snapshot.facts) {
    info.parent_pause_id = snapshot.facts->parent_pause_id;
    info.created = snapshot.facts->created;
    info.huge_pages = snapshot.facts->origin.huge_pages;
    info.pause = snapshot.facts->pause;
  }
  describe_resumes(snapshot, info);
  for (std::size_t i = 0; i < info.layers.size(); ++i) {
    const engine::Layer& layer = snapshot.chain.layers()[i];
    LayerInfo& shown = info.layers[i];
    shown.has_checksums = layer.trailer().has_value();
    shown.file = describe_file(layer, shown.live_blocks);
  }
  return info;
}

}  // namespace lamina::operations
