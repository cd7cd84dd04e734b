#include "store/snapshot_build.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "engine/layer_writer.h"
#include "format/header_codec.h"
#include "mapping/overlay.h"
#include "os/directory.h"

namespace lamina::store {
namespace {

/// Mode of files with guest memory, whatever mode the VMM's file has: private to the store's user.
constexpr std::uint32_t kLayerMode = 0600;

/// The index in `ids`, the parent's layers, of each layer of `child`; absent for the new layer.
/// Both tables have the same order, so each search begins where the last one ended, and the time is
/// linear.
std::vector<std::optional<std::size_t>> places_in(std::span<const Uuid> ids,
                                                  const mapping::Mapping& child) {
  std::vector<std::optional<std::size_t>> places;
  places.reserve(child.layers().size());
  auto next = ids.begin();
  for (const Uuid& id : child.layers()) {
    auto found = std::find(next, ids.end(), id);
    if (found == ids.end()) found = std::find(ids.begin(), ids.end(), id);
    if (found == ids.end()) {
      places.emplace_back();
      continue;
    }
    places.emplace_back(static_cast<std::size_t>(found - ids.begin()));
    next = found + 1;
  }
  return places;
}

}  // namespace

Status SnapshotBuild::run(const BuildTarget& target,
                          const std::optional<format::FileDigest>& vmstate) {
  LAMINA_RETURN_IF_ERROR(scan(target));
  if (input_.layout == Layout::kAdopted) {
    LAMINA_RETURN_IF_ERROR(os::set_mode(target.layer, kLayerMode, target.layer_path));
  }
  const auto block_count = static_cast<std::uint32_t>(blocks_for(input_.memory_facts.size_bytes));
  const mapping::Mapping base = input_.parent != nullptr ? input_.parent->header.mapping
                                                         : mapping::Mapping::zeros(block_count);
  LAMINA_ASSIGN_OR_RETURN(mapping::Mapping mapping,
                          mapping::overlay(base, input_.build_id, scanned_.changes));
  LAMINA_RETURN_IF_ERROR(write_trailer(mapping, target));
  LAMINA_RETURN_IF_ERROR(link_parent_layers(mapping, target));
  link_working_set(target);
  LAMINA_RETURN_IF_ERROR(make_header(std::move(mapping)));
  header_.vmstate = vmstate;

  Description description;
  description.header = header_;
  description.pause_id = input_.pause_id;
  description.created = input_.created;
  description.origin = input_.origin;
  description.once = input_.once;
  description.pause = input_.pause;
  description.parent_pause_id = input_.parent_pause_id;
  if (!description.parent_pause_id && input_.parent != nullptr) {
    description.parent_pause_id = input_.parent->pause_id;
  }
  if (description.parent_pause_id) description.parent = input_.parent_name;
  description.ancestors = input_.ancestors;
  if (input_.when_readable) return describe_when_readable(description, target);
  return write_description(description, target.directory, target.path, kHeaderName, kFactsName);
}

Status SnapshotBuild::describe_when_readable(const Description& description,
                                             const BuildTarget& target) const {
  const std::string header_path = target.path + "/" + kHeaderName;
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          format::encode_header(description.header));
  LAMINA_ASSIGN_OR_RETURN(
      const os::Fd header,
      os::open_at(target.directory, kHeaderName, O_WRONLY | O_CREAT | O_EXCL, header_path));
  LAMINA_RETURN_IF_ERROR(os::write_at(header.get(), bytes, 0, header_path));
  LAMINA_RETURN_IF_ERROR(input_.when_readable());
  LAMINA_RETURN_IF_ERROR(os::sync(target.layer, target.layer_path));
  LAMINA_RETURN_IF_ERROR(os::sync(header.get(), header_path));
  return write_facts(description, bytes, target.directory, target.path, kFactsName);
}

Status SnapshotBuild::scan(const BuildTarget& target) {
  const bool is_diff = input_.kind == MemoryFileKind::kDiff;
  engine::MemoryScan scan;
  scan.memory_file = input_.memory_file;
  scan.path = input_.memory_path;
  scan.memory_bytes = input_.memory_facts.size_bytes;
  scan.is_full = !is_diff;
  scan.zeros_inherit = input_.zeros == Zeros::kInherit;
  scan.refuse_ambiguous = is_diff && input_.zeros == Zeros::kUnspecified;
  scan.refuse_preallocated = is_diff && input_.refuse_preallocated;
  scan.parent = input_.parent != nullptr ? &input_.parent->chain : nullptr;
  scan.written = input_.written;
  scan.compare_with_parent = input_.compare_with_parent;
  if (input_.layout == Layout::kCompact) {
    scan.compact_file = target.layer;
    scan.compact_path = target.layer_path;
  }
  scan.progress = input_.progress;
  LAMINA_ASSIGN_OR_RETURN(scanned_, engine::scan_memory_file(scan));

  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts now,
                          os::facts_of(input_.memory_file, input_.memory_path));
  if (now.size_bytes != input_.memory_facts.size_bytes ||
      now.modified_ns != input_.memory_facts.modified_ns) {
    return fail(ErrorKind::kFailed,
                "'{}' changed while it was read: ingest it when its writer has ended",
                input_.memory_path);
  }
  return {};
}

Status SnapshotBuild::write_trailer(const mapping::Mapping& mapping, const BuildTarget& target) {
  std::vector<mapping::StoredExtent> stored;
  for (const mapping::Extent& change : scanned_.changes) {
    if (change.layer == mapping::kZeros) continue;
    stored.push_back({change.guest_block, change.block_count, 0, 0});
  }
  const auto layout = input_.layout == Layout::kAdopted ? format::LayerLayout::kAdopted
                                                        : format::LayerLayout::kCompact;
  format::Trailer trailer = engine::describe_layer(mapping, input_.build_id, std::move(stored),
                                                   layout, input_.memory_facts.size_bytes);
  trailer.pause_id = input_.pause_id;
  trailer.checksums = std::move(scanned_.checksums);
  data_blocks_ = trailer.data_blocks;
  const auto finish = input_.when_readable ? engine::finish_layer_unsynced : engine::finish_layer;
  LAMINA_RETURN_IF_ERROR(finish(target.layer, trailer, target.layer_path));
  return {};
}

std::vector<BlockRun> SnapshotBuild::spare_runs() const {
  if (input_.layout != Layout::kAdopted) return {};
  if (input_.kind == MemoryFileKind::kDiff) return scanned_.unchanged;
  std::vector<BlockRun> zeros;
  for (const mapping::Extent& change : scanned_.changes) {
    if (change.layer == mapping::kZeros) zeros.push_back(change.guest_run());
  }
  return zeros;
}

Status SnapshotBuild::link_parent_layers(const mapping::Mapping& mapping,
                                         const BuildTarget& target) {
  if (input_.parent == nullptr) return {};
  for (const auto& place : places_in(input_.parent->header.mapping.layers(), mapping)) {
    if (!place) continue;
    const engine::Layer& layer = input_.parent->chain.layers()[*place];
    LAMINA_ASSIGN_OR_RETURN(const bool linked, link_layer(layer, input_.parent->directory.get(),
                                                          target.directory, target.path));
    if (!linked) {
      notes_.push_back(fmt::format(
          "layer '{}' was copied: a hard link from here to it is not possible", layer.path()));
    }
  }
  return {};
}

/// Links the parent's working set: the child's resume probably touches the same blocks first. A
/// failure is ignored, because the working set is only a hint.
void SnapshotBuild::link_working_set(const BuildTarget& target) const {
  if (input_.parent == nullptr) return;
  const std::string name = kWorkingSetName;
  const std::string path = input_.parent->path + "/" + name;
  const auto opened =
      os::open_regular(input_.parent->directory.get(), name, O_RDONLY | O_NOFOLLOW, path);
  if (!opened) return;
  static_cast<void>(
      link_or_copy({opened->fd.get(), opened->facts, path, input_.parent->directory.get()}, name,
                   target.directory, target.path));
}

Status SnapshotBuild::make_header(mapping::Mapping mapping) {
  const OpenSnapshot* parent = input_.parent;
  header_ = {};
  header_.format = input_.header;
  header_.pause_id = input_.header == HeaderFormat::kNative ? input_.pause_id : Uuid{};
  header_.build_id = input_.build_id;
  header_.base_build_id = parent != nullptr ? parent->header.base_build_id : input_.build_id;
  header_.memory_bytes = input_.memory_facts.size_bytes;
  std::span<const Uuid> before;
  if (parent != nullptr) before = parent->header.mapping.layers();
  for (const auto& place : places_in(before, mapping)) {
    header_.layers.push_back(place ? parent->header.layers[*place]
                                   : format::LayerFacts{data_blocks_, true});
  }
  header_.generation = mapping.layers().size() - 1;
  if (input_.header != HeaderFormat::kNative && parent != nullptr) {
    // These versions count every diff since the base, also one that superseded a whole layer.
    if (parent->header.generation == UINT64_MAX) {
      return fail(ErrorKind::kCorrupt, "the header of '{}' has generation {}", parent->path,
                  parent->header.generation);
    }
    header_.generation = parent->header.generation + 1;
  }
  header_.mapping = std::move(mapping);
  return {};
}

}  // namespace lamina::store
