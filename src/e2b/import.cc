// A build's memory as a snapshot.
//
// Every data object is read once, from the beginning to the end, and its blocks are put where the
// guest has them (block_collector.h). So a chain of thousands of builds costs the time to read what
// is live, whatever the order of its mappings; and no mapping, however hostile, makes a frame be
// decompressed twice.
//
// The layers get new build ids: a layer has only the blocks of a build that this memory needs, and
// the next snapshot that refers to the same build needs others. The build's own id becomes the
// pause id, because both name one state of a guest.
#include <fcntl.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "e2b/block_collector.h"
#include "e2b/build_storage.h"
#include "e2b/data_object.h"
#include "e2b/header.h"
#include "e2b/layer_file.h"
#include "e2b/metadata.h"
#include "format/checksum.h"
#include "format/working_set.h"
#include "lamina/e2b.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/huge_pages.h"
#include "store/name.h"
#include "store/open_store.h"
#include "store/snapshot_directory.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina::e2b {
namespace {

/// Every layer is a file that each reader opens.
constexpr std::size_t kMaxImportedLayers = 256;

/// As for the VM state of any snapshot.
constexpr std::uint64_t kMaxVmStateBytes = std::uint64_t{256} << 20;

/// The mappings of one layer to make, and the builds that they are of.
struct LayerPlan {
  std::vector<std::uint32_t> builds;  ///< indices in Header::builds
};

class Import {
 public:
  explicit Import(const E2bImportOptions& options) : options_(options) {}

  Result<E2bImportReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath target,
                            store::parse_snapshot_path(options_.snapshot));
    LAMINA_ASSIGN_OR_RETURN(BuildStorage storage,
                            BuildStorage::open(options_.directory, options_.progress));
    storage_.emplace(std::move(storage));
    LAMINA_RETURN_IF_ERROR(read_header());
    LAMINA_RETURN_IF_ERROR(plan());

    LAMINA_ASSIGN_OR_RETURN(const auto opened,
                            store::StoreSource().open(target.store, report_.notes));
    const store::Store& store = *opened;
    LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.lock(target.name));
    if (os::name_exists(store.fd(), target.name)) {
      return with_remedy(fail(ErrorKind::kExists, "'{}' already exists", target.path),
                         "choose another name for the snapshot");
    }
    report_.snapshot = target.path;
    LAMINA_ASSIGN_OR_RETURN(store::Staging staging,
                            store::Staging::create(store, store::Area::kTemporary, Uuid::random()));
    LAMINA_RETURN_IF_ERROR(fill(staging));
    if (options_.progress != nullptr && options_.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    return staging.publish_new(target.name);
  }

  Status read_header() {
    const Uuid& build = options_.build;
    LAMINA_ASSIGN_OR_RETURN(std::optional<Header> header, storage_->read_header(build));
    if (header) {
      header_ = std::move(*header);
      report_.header_version = header_.version;
      report_.page_bytes = header_.block_bytes;
    } else {
      LAMINA_RETURN_IF_ERROR(describe_without_header());
      report_.page_bytes = kBlockBytes;
    }
    report_.pause_id = build;
    report_.source_generation = header_.generation;
    report_.memory_bytes = header_.memory_bytes;
    report_.builds = static_cast<std::uint32_t>(header_.builds.size());
    if (header_.memory_bytes != 0) return {};
    return fail(ErrorKind::kUnsupported,
                "build {} has a memory of 0 bytes: there is nothing to keep", build.to_string());
  }

  /// A build without a header is an old template: its object is the whole memory.
  Status describe_without_header() {
    const Uuid& build = options_.build;
    const std::string path = storage_->path_of(build, kMemoryName);
    LAMINA_ASSIGN_OR_RETURN(const auto object, storage_->open_object(build, kMemoryName));
    if (!object) {
      return fail(ErrorKind::kNotFound, "build {} has no '{}' and no '{}' in '{}'",
                  build.to_string(), kHeaderName, kMemoryName, options_.directory);
    }
    LAMINA_ASSIGN_OR_RETURN(const bool is_layer, storage_->has_object(build, kLayerMarkName));
    if (is_layer) {
      return with_remedy(
          fail(
              ErrorKind::kNotFound,
              "build {} has no header: it is a layer that an export made for other builds, and not "
              "a memory",
              build.to_string()),
          "import the build that the export named");
    }
    const std::uint64_t bytes = object->size_bytes();
    if (blocks_for(bytes) > kMaxBlocks) {
      return fail(ErrorKind::kFailed, "'{}' has {} bytes; memory of at most {} is supported", path,
                  bytes, kMaxBlocks * kBlockBytes);
    }
    header_.version = 1;
    header_.memory_bytes = bytes;
    header_.build_id = build;
    header_.base_build_id = build;
    if (bytes == 0) return {};
    header_.builds.push_back(build);
    header_.mappings.push_back({0, static_cast<std::uint32_t>(blocks_for(bytes)), 0, 0});
    report_.notes.push_back(
        fmt::format("build {} has no header: its whole '{}' is taken as the memory",
                    build.to_string(), kMemoryName));
    return {};
  }

  /// Decides which layers to make, oldest first.
  Status plan() {
    std::vector<std::uint32_t> order(header_.builds.size());
    std::iota(order.begin(), order.end(), 0);
    if (options_.compact || order.size() <= 1) {
      layers_.push_back({std::move(order)});
      return {};
    }
    if (order.size() > kMaxImportedLayers) {
      return with_remedy(fail(ErrorKind::kUnsupported,
                              "the memory needs {} builds, and at most {} can become a layer each",
                              order.size(), kMaxImportedLayers),
                         "set `compact` to make one layer of all");
    }
    LAMINA_RETURN_IF_ERROR(sort_by_age(order));
    layers_.reserve(order.size());
    for (const std::uint32_t build : order) layers_.push_back({{build}});
    return {};
  }

  /// A header does not record the order of its ancestors; their own headers have generations. It
  /// matters to later merges only: no block is in two layers.
  Status sort_by_age(std::vector<std::uint32_t>& order) {
    std::vector<std::uint64_t> ages(order.size());
    std::uint32_t unknown = 0;
    for (const std::uint32_t build : order) {
      const Uuid& id = header_.builds[build];
      if (id == header_.build_id) {
        ages[build] = std::numeric_limits<std::uint64_t>::max();
      } else if (id == header_.base_build_id) {
        ages[build] = 0;
      } else {
        LAMINA_ASSIGN_OR_RETURN(const auto generation, storage_->generation_of(id));
        if (!generation) ++unknown;
        ages[build] =
            std::min(generation.value_or(0), std::numeric_limits<std::uint64_t>::max() - 1);
      }
    }
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return std::tie(ages[a], a) < std::tie(ages[b], b);
    });
    if (unknown == 0) return {};
    report_.notes.push_back(fmt::format(
        "the age of {} of {} builds is not known: they have no header and are taken as the oldest",
        unknown, order.size()));
    return {};
  }

  Status fill(const store::Staging& staging) {
    // The mappings with data, by build and place in the object.
    std::vector<std::uint32_t> by_build;
    by_build.reserve(header_.mappings.size());
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < header_.mappings.size(); ++i) {
      if (header_.mappings[i].build == kNoBuild) continue;
      by_build.push_back(static_cast<std::uint32_t>(i));
      bytes += header_.mappings[i].block_count * kBlockBytes;
    }
    std::sort(by_build.begin(), by_build.end(), [this](std::uint32_t a, std::uint32_t b) {
      const BuildMapping& left = header_.mappings[a];
      const BuildMapping& right = header_.mappings[b];
      return std::tie(left.build, left.storage_block, a) <
             std::tie(right.build, right.storage_block, b);
    });
    if (options_.progress != nullptr) options_.progress->begin("importing", bytes);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      LAMINA_RETURN_IF_ERROR(make_layer(layers_[i], by_build, staging, i + 1 == layers_.size()));
    }
    LAMINA_RETURN_IF_ERROR(keep_other_objects(staging));
    return describe(staging);
  }

  /// Makes one layer. An older layer that turns out to have no data is left out.
  Status make_layer(const LayerPlan& plan, std::span<const std::uint32_t> by_build,
                    const store::Staging& staging, bool is_youngest) {
    const Uuid id = Uuid::random();
    const std::string name = store::layer_file_name(id);
    LAMINA_ASSIGN_OR_RETURN(LayerFile layer,
                            LayerFile::create(staging.fd(), name, staging.file_path(name),
                                              header_.memory_bytes, runs_of(plan, by_build)));
    for (const std::uint32_t build : plan.builds) {
      LAMINA_RETURN_IF_ERROR(read_build(build, by_build, layer));
    }
    report_.zero_blocks += layer.zero_blocks();
    if (layer.stored_blocks() == 0 && !is_youngest) {
      return os::remove_file(staging.fd(), name, staging.file_path(name));
    }
    format::Trailer trailer;
    trailer.build_id = id;
    trailer.pause_id = is_youngest ? options_.build : header_.builds[plan.builds.front()];
    trailer.chain = made_;
    if (!made_.empty()) trailer.parent = made_.back();
    trailer.extents = layer.stored_extents();
    made_.push_back(id);
    const auto index = static_cast<mapping::LayerIndex>(made_.size());
    for (const mapping::StoredExtent& extent : trailer.extents) {
      extents_.push_back({extent.guest_block, extent.block_count, index, extent.guest_block});
    }
    if (is_youngest) {
      LAMINA_RETURN_IF_ERROR(make_mapping());
      for (std::size_t i = 0; i < mapping_.extent_count(); ++i) {
        const mapping::Extent extent = mapping_.extent(i);
        if (extent.layer == mapping::kZeros) trailer.zeros.push_back(extent.guest_run());
      }
    }
    report_.stored_blocks += layer.stored_blocks();
    layer_facts_.push_back(
        {layer.stored_blocks() == 0 ? 0 : blocks_for(header_.memory_bytes), true});
    return layer.finish(std::move(trailer));
  }

  /// The mappings of a build, in the order of its object.
  [[nodiscard]] std::span<const std::uint32_t> mappings_of(
      std::uint32_t build, std::span<const std::uint32_t> by_build) const {
    const auto first = std::lower_bound(by_build.begin(), by_build.end(), build,
                                        [this](std::uint32_t mapping, std::uint32_t wanted) {
                                          return header_.mappings[mapping].build < wanted;
                                        });
    const auto end = std::upper_bound(first, by_build.end(), build,
                                      [this](std::uint32_t wanted, std::uint32_t mapping) {
                                        return wanted < header_.mappings[mapping].build;
                                      });
    return {first, end};
  }

  /// The runs of the guest that are in the builds of `plan`, in guest order. Numbers their blocks.
  [[nodiscard]] std::vector<BlockRun> runs_of(const LayerPlan& plan,
                                              std::span<const std::uint32_t> by_build) {
    std::vector<std::uint32_t> chosen;
    for (const std::uint32_t build : plan.builds) {
      const auto more = mappings_of(build, by_build);
      chosen.insert(chosen.end(), more.begin(), more.end());
    }
    std::sort(chosen.begin(), chosen.end());
    numbers_.resize(header_.mappings.size());
    std::vector<BlockRun> runs;
    runs.reserve(chosen.size());
    std::uint32_t number = 0;
    for (const std::uint32_t i : chosen) {
      const BuildMapping& mapping = header_.mappings[i];
      numbers_[i] = number;
      number += mapping.block_count;
      runs.push_back({mapping.guest_block, mapping.block_count});
    }
    return runs;
  }

  Status read_build(std::uint32_t build, std::span<const std::uint32_t> by_build,
                    LayerFile& layer) {
    const auto mappings = mappings_of(build, by_build);
    std::vector<Piece> pieces;
    pieces.reserve(mappings.size());
    for (const std::uint32_t i : mappings) {
      const BuildMapping& mapping = header_.mappings[i];
      pieces.push_back(
          {mapping.storage_block, mapping.block_count, mapping.guest_block, numbers_[i]});
    }
    LAMINA_ASSIGN_OR_RETURN(DataObject object,
                            DataObject::open(*storage_, header_, header_.builds[build]));
    const Status read = read_object(object, pieces, layer);
    report_.read_bytes += object.read_bytes();
    return read;
  }

  Status read_object(DataObject& object, std::span<const Piece> pieces, LayerFile& layer) {
    const auto named = [&](Status status) -> Status {
      if (status || status.error().kind != ErrorKind::kCorrupt) return status;
      return std::unexpected(
          with_context(fmt::format("data object '{}'", object.path()), std::move(status.error())));
    };
    BlockCollector collector(pieces, layer, header_.memory_bytes, object.data_bytes(),
                             options_.progress);
    LAMINA_RETURN_IF_ERROR(named(collector.check()));
    DataObject::ReadOptions reading;
    reading.progress = options_.progress;
    reading.check_digest = options_.digests == E2bDigests::kCheck;
    reading.is_needed = [&](std::uint64_t offset, std::uint64_t end) {
      return collector.is_needed(offset, end);
    };
    reading.take = [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      return named(collector.take(offset, bytes));
    };
    LAMINA_RETURN_IF_ERROR(object.read(reading));
    if (reading.check_digest && object.has_digest()) ++report_.checked_digests;
    return named(collector.finish());
  }

  Status make_mapping() {
    std::sort(extents_.begin(), extents_.end(),
              [](const mapping::Extent& a, const mapping::Extent& b) {
                return a.guest_block < b.guest_block;
              });
    mapping::MappingBuilder builder(2 * extents_.size() + 1);
    std::uint32_t end = 0;
    for (const mapping::Extent& extent : extents_) {
      if (extent.guest_block > end) {
        builder.append({end, extent.guest_block - end, mapping::kZeros, 0});
      }
      builder.append(extent);
      end = extent.guest_end();
    }
    const auto block_count = static_cast<std::uint32_t>(blocks_for(header_.memory_bytes));
    if (block_count > end) builder.append({end, block_count - end, mapping::kZeros, 0});
    extents_.clear();
    mapping_ = builder.finish_keeping_all(made_);
    return {};
  }

  Status keep_vmstate(const store::Staging& staging) {
    LAMINA_ASSIGN_OR_RETURN(const auto state,
                            storage_->read_small(options_.build, kVmStateName, kMaxVmStateBytes));
    if (!state) return {};
    LAMINA_RETURN_IF_ERROR(os::write_new_file(staging.fd(), store::kVmstateName, *state,
                                              staging.file_path(store::kVmstateName)));
    vmstate_ = format::FileDigest{state->size(), format::digest128(*state)};
    report_.notes.emplace_back(
        "the VM state is of E2B's Firecracker: another Firecracker cannot load it");
    return {};
  }

  /// VM state, metadata and working set.
  Status keep_other_objects(const store::Staging& staging) {
    LAMINA_RETURN_IF_ERROR(keep_vmstate(staging));
    LAMINA_ASSIGN_OR_RETURN(const auto metadata,
                            storage_->read_small(options_.build, kMetadataName, kMaxMetadataBytes));
    if (!metadata) return {};
    LAMINA_RETURN_IF_ERROR(os::write_new_file(staging.fd(), kMetadataName, *metadata,
                                              staging.file_path(kMetadataName)));
    const auto set = working_set_of(*metadata, header_.memory_bytes);
    if (!set) {
      // It is a hint only.
      report_.notes.push_back(fmt::format("'{}' is kept, but its prefetch list is not used: {}",
                                          storage_->path_of(options_.build, kMetadataName),
                                          one_line(set.error())));
      return {};
    }
    if (!*set) return {};
    for (const BlockRun& run : (*set)->runs) report_.working_set_blocks += run.count;
    return os::write_new_file(staging.fd(), store::kWorkingSetName,
                              format::encode_working_set(**set),
                              staging.file_path(store::kWorkingSetName));
  }

  Status describe(const store::Staging& staging) {
    store::Description description;
    description.pause_id = options_.build;
    description.created = store::timestamp_now();
    if (report_.page_bytes == kHugeBlockBytes) {
      description.origin.huge_pages = store::kHugetlbfsPages;
    }
    format::Header& header = description.header;
    header.pause_id = options_.build;
    header.build_id = made_.back();
    header.base_build_id = made_.front();
    header.memory_bytes = header_.memory_bytes;
    header.generation = made_.size() - 1;
    header.vmstate = vmstate_;
    header.layers = layer_facts_;
    header.mapping = mapping_;
    report_.layers = static_cast<std::uint32_t>(made_.size());
    return store::write_description(description, staging.fd(), staging.path(), store::kHeaderName,
                                    store::kFactsName);
  }

  const E2bImportOptions& options_;
  std::optional<BuildStorage> storage_;
  Header header_;
  std::vector<LayerPlan> layers_;
  std::vector<std::uint32_t> numbers_;           ///< of each mapping's first block in its layer
  std::vector<Uuid> made_;                       ///< layers so far, oldest first
  std::vector<format::LayerFacts> layer_facts_;  ///< parallel
  std::vector<mapping::Extent> extents_;         ///< of the layers so far
  mapping::Mapping mapping_ = mapping::Mapping::zeros(1);
  std::optional<format::FileDigest> vmstate_;
  E2bImportReport report_;
};

}  // namespace
}  // namespace lamina::e2b

namespace lamina {

Result<E2bImportReport> import_e2b(const E2bImportOptions& options) {
  return contain("import", [&] { return e2b::Import(options).run(); });
}

}  // namespace lamina
