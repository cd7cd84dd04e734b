#include "lamina/merge.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "engine/layer_writer.h"
#include "engine/merge_data.h"
#include "mapping/overlay.h"
#include "mapping/statistics.h"
#include "operations/with_store.h"
#include "os/directory.h"
#include "store/name.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_link.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina {
namespace {

using store::OpenSnapshot;
using store::Staging;

/// Selects the layers to merge: the `count` youngest, or all.
Result<std::vector<bool>> choose_layers(const OpenSnapshot& source,
                                        const std::optional<std::uint32_t>& count) {
  const std::size_t present = source.header.mapping.layers().size();
  const std::size_t wanted = count.value_or(static_cast<std::uint32_t>(present));
  if (wanted == 0 || wanted > present) {
    return fail(ErrorKind::kUsage, "snapshot '{}' has {} layer{}, so 1 to {} can be merged, not {}",
                source.path, present, present == 1 ? "" : "s", present, wanted);
  }
  if (wanted < present && !source.layer_order_known) {
    return with_remedy(
        fail(ErrorKind::kFailed, "the header of '{}' does not record the order of its layers",
             source.path),
        "merge all of them: leave out `layers`");
  }
  std::vector<bool> selected(present + 1, false);
  for (std::size_t i = present - wanted + 1; i <= present; ++i) selected[i] = true;
  return selected;
}

/// True if the merge would only copy one layer, which is compact and has checksums and no dead
/// blocks.
bool is_merged_already(const OpenSnapshot& source, const std::vector<bool>& selected) {
  std::optional<mapping::LayerIndex> only;
  for (std::size_t i = 1; i < selected.size(); ++i) {
    if (!selected[i]) continue;
    if (only) return false;
    only = static_cast<mapping::LayerIndex>(i);
  }
  const auto& trailer = source.chain.layer(*only).trailer();
  const auto use = mapping::statistics_of(source.header.mapping);
  return trailer && trailer->layout == format::LayerLayout::kCompact &&
         trailer->data_blocks == use.layers[*only].live_blocks;
}

class Merge {
 public:
  Merge(const store::StoreSource& stores, const MergeOptions& options)
      : stores_(stores), options_(options) {}

  Result<MergeReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    if (options_.out && options_.only_build) {
      return fail(ErrorKind::kUsage,
                  "a merge into a new snapshot replaces nothing, so it cannot depend on a build");
    }
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath target,
                            store::parse_snapshot_path(options_.out.value_or(options_.snapshot)));
    // Open the snapshot first: if it does not exist, no store must be made.
    LAMINA_RETURN_IF_ERROR(store::open_snapshot(options_.snapshot));
    LAMINA_ASSIGN_OR_RETURN(const auto opened, stores_.open(target.store, report_.notes));
    const store::Store& store = *opened;
    std::optional<store::NameLock> lock;
    if (!options_.only_build) {
      LAMINA_ASSIGN_OR_RETURN(lock, store.lock(target.name));
    }
    if (options_.out && os::name_exists(store.fd(), target.name)) {
      return with_remedy(fail(ErrorKind::kExists, "'{}' already exists", target.path),
                         "choose another name for the result");
    }
    LAMINA_ASSIGN_OR_RETURN(const OpenSnapshot source, store::open_snapshot(options_.snapshot));
    if (options_.only_build && source.header.build_id != *options_.only_build) {
      return replaced_meanwhile(source);
    }
    LAMINA_ASSIGN_OR_RETURN(const std::vector<bool> selected,
                            choose_layers(source, options_.layers));
    report_.snapshot = target.path;
    report_.pause_id = source.pause_id;
    report_.layers_before = static_cast<std::uint32_t>(source.header.mapping.layers().size());
    if (!options_.out && is_merged_already(source, selected)) {
      report_.layers_after = report_.layers_before;
      report_.build_id = source.header.build_id;
      report_.generation = source.header.generation;
      return {};
    }
    LAMINA_ASSIGN_OR_RETURN(Staging staging,
                            Staging::create(store, store::Area::kTemporary, Uuid::random()));
    const Status built = build(source, selected, staging);
    if (!built) {
      // The source is not locked: it may have been replaced, and its files removed meanwhile.
      const bool gone = options_.only_build && built.error().kind == ErrorKind::kNotFound &&
                        store::was_replaced(source).value_or(false);
      return gone ? replaced_meanwhile(source) : std::unexpected(built.error());
    }
    if (!lock) {
      LAMINA_ASSIGN_OR_RETURN(lock, store.lock(target.name));
    }
    if (options_.progress != nullptr && options_.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    if (options_.out) {
      LAMINA_RETURN_IF_ERROR(staging.publish_new(target.name));
    } else {
      LAMINA_RETURN_IF_ERROR(
          staging.publish_replacing(target.name, source.directory_facts, report_.notes));
    }
    report_.merged = true;
    return {};
  }

  Status build(const OpenSnapshot& source, const std::vector<bool>& selected,
               const Staging& staging) {
    const Uuid merged_id = Uuid::random();
    LAMINA_ASSIGN_OR_RETURN(mapping::MergePlan plan,
                            mapping::plan_merge(source.header.mapping, selected, merged_id));
    LAMINA_RETURN_IF_ERROR(write_layer(source, selected, plan, merged_id, staging));

    for (const engine::Layer& layer : source.chain.layers()) {
      if (plan.mapping.layer_index(layer.build_id()) == mapping::kZeros) continue;
      LAMINA_RETURN_IF_ERROR(
          store::link_layer(layer, source.directory.get(), staging.fd(), staging.path()));
    }
    LAMINA_RETURN_IF_ERROR(store::link_other_files(source, staging.fd(), staging.path()));
    // The source is not locked: it may have been replaced, and its files removed while they were
    // listed.
    if (options_.out || options_.only_build) {
      LAMINA_ASSIGN_OR_RETURN(const bool replaced, store::was_replaced(source));
      if (replaced) return replaced_meanwhile(source);
    }
    return describe(source, plan, merged_id, staging);
  }

  static std::unexpected<Error> replaced_meanwhile(const OpenSnapshot& source) {
    return fail(ErrorKind::kBusy,
                "snapshot '{}' was replaced by another process meanwhile; try again", source.path);
  }

  Status write_layer(const OpenSnapshot& source, const std::vector<bool>& selected,
                     const mapping::MergePlan& plan, const Uuid& merged_id,
                     const Staging& staging) {
    const std::string name = store::layer_file_name(merged_id);
    const std::string path = staging.file_path(name);
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                            os::open_at(staging.fd(), name, O_RDWR | O_CREAT | O_EXCL, path));
    engine::MergeTarget target;
    target.destination = file.get();
    target.path = path;
    target.progress = options_.progress;
    LAMINA_ASSIGN_OR_RETURN(engine::MergedData data,
                            engine::merge_data(source.chain, plan.moves, target));

    std::vector<mapping::StoredExtent> stored;
    for (const mapping::Extent& move : plan.moves) {
      if (!stored.empty() && stored.back().guest_end() == move.guest_block) {
        stored.back().block_count += move.block_count;
      } else {
        stored.push_back({move.guest_block, move.block_count, 0, 0});
      }
    }
    format::Trailer trailer =
        engine::describe_layer(plan.mapping, merged_id, std::move(stored),
                               format::LayerLayout::kCompact, source.header.memory_bytes);
    trailer.pause_id = source.pause_id;
    trailer.checksums = std::move(data.checksums);
    for (std::size_t i = 1; i < selected.size(); ++i) {
      if (!selected[i]) continue;
      const engine::Layer& layer = source.chain.layer(static_cast<mapping::LayerIndex>(i));
      trailer.replaces.push_back(layer.build_id());
      report_.dropped_blocks += layer.stored_blocks();
      if (options_.out) continue;
      (layer.facts().link_count > 1 ? report_.duplicated_bytes : report_.freed_bytes) +=
          layer.facts().allocated_bytes;
    }
    LAMINA_RETURN_IF_ERROR(engine::finish_layer(file.get(), trailer, path));
    report_.merged_blocks = plan.moved_blocks;
    report_.dropped_blocks -= std::min<std::uint64_t>(report_.dropped_blocks, plan.moved_blocks);
    report_.cloned_bytes = data.cloned_bytes;
    report_.copied_bytes = data.kernel_copied_bytes + data.read_written_bytes;
    return {};
  }

  Status describe(const OpenSnapshot& source, mapping::MergePlan& plan, const Uuid& merged_id,
                  const Staging& staging) {
    store::Description description;
    description.pause_id = source.pause_id;
    if (source.facts) {
      description.parent_pause_id = source.facts->parent_pause_id;
      description.ancestors = source.facts->ancestors;
      description.parent = source.facts->parent;
      description.created = source.facts->created;
      description.origin = source.facts->origin;
      description.once = source.facts->once;
      description.pause = source.facts->pause;
    } else {
      description.created = store::timestamp_now();
    }
    format::Header& header = description.header;
    header = source.header;
    header.layers.clear();
    for (const Uuid& id : plan.mapping.layers()) {
      header.layers.push_back(
          id == merged_id ? format::LayerFacts{plan.moved_blocks, true}
                          : source.header.layers[source.header.mapping.layer_index(id) - 1U]);
    }
    // The youngest layer is always merged, so the merged layer is the youngest, and gives the build
    // id.
    header.build_id = merged_id;
    header.generation = plan.mapping.layers().size() - 1;
    if (header.generation == 0) header.base_build_id = merged_id;
    header.mapping = std::move(plan.mapping);
    report_.build_id = merged_id;
    report_.generation = header.generation;
    report_.layers_after = static_cast<std::uint32_t>(header.layers.size());
    return store::write_description(description, staging.fd(), staging.path(), store::kHeaderName,
                                    store::kFactsName);
  }

  const store::StoreSource& stores_;
  const MergeOptions& options_;
  MergeReport report_;
};

}  // namespace

Result<MergeReport> operations::merge(const store::StoreSource& stores,
                                      const MergeOptions& options) {
  return contain("merge", [&] { return Merge(stores, options).run(); });
}

Result<MergeReport> merge(const MergeOptions& options) { return operations::merge({}, options); }

}  // namespace lamina
