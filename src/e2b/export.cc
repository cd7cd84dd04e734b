// A snapshot's memory as builds of E2B.
//
// Each layer becomes a build with the layer's whole data, so that the object of a layer has the
// same bytes in the export of every snapshot that shares it. Only the youngest build has a header,
// with an entry for each of the others; E2B's reader needs no more. With `compact`, one build has
// the blocks that are live.
#include <fcntl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "e2b/build_storage.h"
#include "e2b/data_writer.h"
#include "e2b/export_directory.h"
#include "e2b/header.h"
#include "e2b/metadata.h"
#include "engine/chain.h"
#include "engine/transfer.h"
#include "format/working_set.h"
#include "lamina/e2b.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/range_copy.h"
#include "store/huge_pages.h"
#include "store/snapshot_directory.h"

namespace lamina::e2b {
namespace {

using store::OpenSnapshot;

/// How often a snapshot is opened anew if it is replaced meanwhile.
constexpr int kOpenAttempts = 20;
constexpr std::string_view kLayerMark =
    "A layer that 'lamina export e2b' wrote. Headers of other builds refer to its data, which is "
    "not a memory by itself.\n";

Compression compression_of(E2bCodec codec) {
  switch (codec) {
    case E2bCodec::kZstd:
      return Compression::kZstd;
    case E2bCodec::kLz4:
      return Compression::kLz4;
    case E2bCodec::kNone:
      break;
  }
  return Compression::kNone;
}

/// A snapshot with what an export reads of it.
struct Source {
  OpenSnapshot snapshot;
  std::optional<format::WorkingSet> working_set;
  std::vector<std::byte> metadata;  ///< of the build that it was imported from; or empty
};

Result<Source> read_source(OpenSnapshot snapshot) {
  Source source{std::move(snapshot), std::nullopt, {}};
  const int directory = source.snapshot.directory.get();
  const std::string& path = source.snapshot.path;
  LAMINA_ASSIGN_OR_RETURN(const auto set, os::read_if_exists(directory, store::kWorkingSetName,
                                                             format::max_working_set_bytes(),
                                                             path + "/" + store::kWorkingSetName));
  if (set) {
    // It is a hint: one that cannot be read, or is of another memory, is none.
    auto decoded = format::decode_working_set(*set);
    if (decoded && decoded->memory_bytes == source.snapshot.header.memory_bytes) {
      source.working_set = std::move(*decoded);
    }
  }
  LAMINA_ASSIGN_OR_RETURN(
      auto metadata,
      os::read_if_exists(directory, kMetadataName, kMaxMetadataBytes, path + "/" + kMetadataName));
  if (metadata) source.metadata = std::move(*metadata);
  return source;
}

/// Files that are read by name may be gone if the snapshot was replaced: then the new one is
/// opened.
Result<Source> open_source(const std::string& path) {
  for (int attempt = 1;; ++attempt) {
    LAMINA_ASSIGN_OR_RETURN(OpenSnapshot snapshot, store::open_snapshot(path));
    auto source = read_source(std::move(snapshot));
    if (!source) return source;
    LAMINA_ASSIGN_OR_RETURN(const bool replaced, store::was_replaced(source->snapshot));
    if (!replaced) return source;
    if (attempt == kOpenAttempts) {
      return fail(ErrorKind::kBusy,
                  "snapshot '{}' was replaced again and again while it was opened; try again",
                  path);
    }
  }
}

class Export {
 public:
  explicit Export(const E2bExportOptions& options) : options_(options) {}

  Result<E2bExportReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_RETURN_IF_ERROR(check_options());
    LAMINA_ASSIGN_OR_RETURN(Source source, open_source(options_.snapshot));
    source_ = std::make_unique<Source>(std::move(source));
    LAMINA_RETURN_IF_ERROR(check_snapshot());
    LAMINA_ASSIGN_OR_RETURN(ExportDirectory directory,
                            ExportDirectory::create(options_.directory, report_.notes));
    if (directory.has_build(header_.build_id)) {
      return with_remedy(fail(ErrorKind::kExists, "'{}/{}' already exists", options_.directory,
                              header_.build_id.to_string()),
                         "remove it, or export to another directory");
    }
    if (options_.compact) {
      LAMINA_RETURN_IF_ERROR(write_compact(directory));
    } else {
      LAMINA_RETURN_IF_ERROR(write_layers(directory));
    }
    LAMINA_RETURN_IF_ERROR(write_other_objects());
    LAMINA_RETURN_IF_ERROR(write_header());
    if (options_.progress != nullptr && options_.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    published_.push_back(header_.build_id);
    return directory.publish(published_);
  }

  Status check_options() {
    const bool is_version_3 = options_.header == E2bHeader::kV3;
    const E2bCodec codec =
        options_.codec.value_or(is_version_3 ? E2bCodec::kNone : E2bCodec::kZstd);
    if (is_version_3 && codec != E2bCodec::kNone) {
      return with_remedy(
          fail(ErrorKind::kUsage, "a header of version 3 cannot describe compressed data"),
          "set `header=v4`, or `codec=none`");
    }
    if (options_.build_id && !options_.compact) {
      return with_remedy(
          fail(ErrorKind::kUsage, "a build id can be given to a build of all layers only"),
          "set `compact`");
    }
    if (options_.build_id && options_.build_id->is_nil()) {
      return fail(ErrorKind::kUsage, "the nil UUID cannot be a build id");
    }
    compression_ = compression_of(codec);
    return {};
  }

  Status check_snapshot() {
    const OpenSnapshot& snapshot = source_->snapshot;
    LAMINA_RETURN_IF_ERROR(store::check_vmstate(snapshot));
    for (const engine::Layer& layer : snapshot.chain.layers()) {
      if (layer.trailer()) continue;
      return with_remedy(
          fail(ErrorKind::kUnsupported,
               "layer '{}' has no checksums, so its blocks cannot be checked", layer.path()),
          "merge the snapshot first: that computes them");
    }
    const bool is_huge =
        snapshot.facts && snapshot.facts->origin.huge_pages == store::kHugetlbfsPages;
    header_.version = static_cast<std::uint32_t>(options_.header);
    header_.block_bytes = is_huge ? kHugeBlockBytes : kBlockBytes;
    header_.memory_bytes = snapshot.header.memory_bytes;
    header_.generation = snapshot.header.generation;
    header_.build_id =
        options_.compact ? options_.build_id.value_or(Uuid::random()) : snapshot.header.build_id;
    header_.base_build_id = options_.compact ? header_.build_id : snapshot.header.base_build_id;
    report_.build_id = header_.build_id;
    report_.memory_bytes = header_.memory_bytes;
    return {};
  }

  /// A data object that is being written.
  struct Object {
    os::Fd directory;
    std::string path;  ///< of the directory
    std::string name;
    std::unique_ptr<DataWriter> writer;
  };

  Result<Object> begin_object(ExportDirectory& directory, const Uuid& build) {
    Object object;
    LAMINA_ASSIGN_OR_RETURN(object.directory, directory.add_build(build));
    object.path = directory.path_of(build);
    object.name = data_object_name(compression_);
    const std::string path = object.path + "/" + object.name;
    LAMINA_ASSIGN_OR_RETURN(os::Fd file, os::open_at(object.directory.get(), object.name,
                                                     O_RDWR | O_CREAT | O_EXCL, path));
    object.writer = std::make_unique<DataWriter>(std::move(file), path, compression_);
    ++report_.builds;
    return object;
  }

  /// Completes the object, and notes it in the header. An object without data is removed, as E2B
  /// writes none.
  Status end_object(Object& object, const Uuid& build) {
    LAMINA_RETURN_IF_ERROR(object.writer->finish());
    const BuildEntry& entry = object.writer->entry();
    report_.data_bytes += entry.data_bytes;
    report_.object_bytes += object.writer->object_bytes();
    if (entry.data_bytes == 0) {
      LAMINA_RETURN_IF_ERROR(
          os::remove_file(object.directory.get(), object.name, object.path + "/" + object.name));
    }
    if (header_.version > 3) header_.entries.emplace(build, entry);
    if (build == header_.build_id) {
      own_directory_ = std::move(object.directory);
      own_path_ = object.path;
    }
    return {};
  }

  /// Reads an extent, checks its blocks, and adds them to the object.
  Status copy(const engine::Layer& layer, mapping::Extent extent, DataWriter& writer) {
    while (extent.block_count != 0) {
      mapping::Extent part = extent;
      part.block_count = std::min(extent.block_count, engine::kChunkBlocks);
      const auto buffer = std::span(buffer_).first(part.block_count * kBlockBytes);
      LAMINA_RETURN_IF_ERROR(layer.read_checked(part, buffer));
      LAMINA_RETURN_IF_ERROR(writer.add(buffer));
      LAMINA_RETURN_IF_ERROR(engine::advance(options_.progress, buffer.size()));
      extent.guest_block += part.block_count;
      extent.storage_block += part.block_count;
      extent.block_count -= part.block_count;
    }
    return {};
  }

  void begin_progress(std::uint64_t blocks) {
    buffer_.resize(engine::kChunkBlocks * kBlockBytes);
    if (options_.progress != nullptr) options_.progress->begin("exporting", blocks * kBlockBytes);
  }

  /// Adds a mapping, joined with the last one if both places are adjacent.
  void add_mapping(const BuildMapping& mapping) {
    if (!header_.mappings.empty()) {
      BuildMapping& last = header_.mappings.back();
      if (last.build == mapping.build &&
          (mapping.build == kNoBuild ||
           last.storage_block + last.block_count == mapping.storage_block)) {
        last.block_count += mapping.block_count;
        return;
      }
    }
    header_.mappings.push_back(mapping);
  }

  Status write_compact(ExportDirectory& directory) {
    const engine::Chain& chain = source_->snapshot.chain;
    const mapping::Mapping& mapping = source_->snapshot.header.mapping;
    std::uint64_t blocks = 0;
    for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
      const mapping::Extent extent = mapping.extent(i);
      if (extent.layer != mapping::kZeros) blocks += extent.block_count;
    }
    begin_progress(blocks);
    header_.builds.push_back(header_.build_id);
    LAMINA_ASSIGN_OR_RETURN(Object object, begin_object(directory, header_.build_id));
    std::uint32_t place = 0;
    for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
      const mapping::Extent extent = mapping.extent(i);
      if (extent.layer == mapping::kZeros) {
        add_mapping({extent.guest_block, extent.block_count, kNoBuild, 0});
        continue;
      }
      add_mapping({extent.guest_block, extent.block_count, 0, place});
      place += extent.block_count;
      LAMINA_RETURN_IF_ERROR(copy(chain.layer(extent.layer), extent, *object.writer));
    }
    if (place == 0) header_.builds.clear();
    return end_object(object, header_.build_id);
  }

  Status write_layers(ExportDirectory& directory) {
    const engine::Chain& chain = source_->snapshot.chain;
    std::uint64_t blocks = 0;
    for (const engine::Layer& layer : chain.layers()) blocks += layer.stored_blocks();
    begin_progress(blocks);
    for (const engine::Layer& layer : chain.layers()) {
      LAMINA_RETURN_IF_ERROR(write_layer(layer, directory));
    }
    return map_layers();
  }

  Status write_layer(const engine::Layer& layer, ExportDirectory& directory) {
    const Uuid& build = layer.build_id();
    if (layer.stored_blocks() == 0 && build != header_.build_id) return {};
    LAMINA_ASSIGN_OR_RETURN(Object object, begin_object(directory, build));
    for (const mapping::StoredExtent& stored : layer.trailer()->extents) {
      const mapping::Extent extent{stored.guest_block, stored.block_count, mapping::kNewLayer,
                                   stored.storage_block};
      LAMINA_RETURN_IF_ERROR(copy(layer, extent, *object.writer));
    }
    LAMINA_RETURN_IF_ERROR(end_object(object, build));
    if (build == header_.build_id) return {};
    const std::string mark_path = object.path + "/" + kLayerMarkName;
    LAMINA_RETURN_IF_ERROR(os::write_new_file(object.directory.get(), kLayerMarkName,
                                              std::as_bytes(std::span(kLayerMark)), mark_path));
    LAMINA_RETURN_IF_ERROR(os::sync(object.directory.get(), object.path));
    LAMINA_ASSIGN_OR_RETURN(const bool is_there, directory.has_same_object(build, object.name));
    if (is_there) {
      ++report_.reused_builds;
    } else {
      published_.push_back(build);
    }
    return {};
  }

  /// The header's mapping: a block's place in an object is its number among the layer's blocks.
  Status map_layers() {
    const mapping::Mapping& mapping = source_->snapshot.header.mapping;
    std::vector<std::uint32_t> numbers(mapping.layers().size() + 1, kNoBuild);
    for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
      const mapping::Extent extent = mapping.extent(i);
      if (extent.layer == mapping::kZeros) {
        add_mapping({extent.guest_block, extent.block_count, kNoBuild, 0});
        continue;
      }
      const engine::Layer& layer = source_->snapshot.chain.layer(extent.layer);
      const mapping::StoredExtent* stored =
          format::find_stored(*layer.trailer(), extent.guest_block);
      if (stored == nullptr || stored->guest_end() < extent.guest_end()) {
        return fail(ErrorKind::kCorrupt, "layer '{}' does not store the blocks at {:#x}",
                    layer.path(), extent.guest_block * kBlockBytes);
      }
      std::uint32_t& number = numbers[extent.layer];
      if (number == kNoBuild) {
        number = static_cast<std::uint32_t>(header_.builds.size());
        header_.builds.push_back(layer.build_id());
      }
      add_mapping({extent.guest_block, extent.block_count, number,
                   stored->checksum_index + (extent.guest_block - stored->guest_block)});
    }
    return {};
  }

  /// VM state and metadata of the build with the header.
  Status write_other_objects() {
    const OpenSnapshot& snapshot = source_->snapshot;
    if (snapshot.vmstate_file) {
      const std::string path = own_path_ + "/" + kVmStateName;
      LAMINA_ASSIGN_OR_RETURN(const os::Fd file, os::open_at(own_directory_.get(), kVmStateName,
                                                             O_RDWR | O_CREAT | O_EXCL, path));
      LAMINA_RETURN_IF_ERROR(os::copy_file(snapshot.vmstate_file->fd.get(), file.get(),
                                           snapshot.vmstate_file->facts.size_bytes,
                                           snapshot.path + "/" + store::kVmstateName, path));
      LAMINA_RETURN_IF_ERROR(os::sync(file.get(), path));
    }
    auto metadata = make_metadata(source_->metadata, header_.build_id, source_->working_set,
                                  header_.block_bytes);
    if (!metadata) {
      report_.notes.push_back(fmt::format("'{}/{}' is not used: {}", snapshot.path, kMetadataName,
                                          one_line(metadata.error())));
      LAMINA_ASSIGN_OR_RETURN(
          metadata, make_metadata({}, header_.build_id, source_->working_set, header_.block_bytes));
    }
    return os::write_new_file(own_directory_.get(), kMetadataName,
                              std::as_bytes(std::span(*metadata)), own_path_ + "/" + kMetadataName);
  }

  Status write_header() {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, encode_header(header_));
    LAMINA_RETURN_IF_ERROR(os::write_new_file(own_directory_.get(), kHeaderName, bytes,
                                              own_path_ + "/" + kHeaderName));
    report_.mappings = header_.mappings.size();
    return os::sync(own_directory_.get(), own_path_);
  }

  const E2bExportOptions& options_;
  Compression compression_ = Compression::kNone;
  std::unique_ptr<Source> source_;
  Header header_;
  std::vector<Uuid> published_;  ///< builds to name, in this order
  os::Fd own_directory_;         ///< of the build with the header
  std::string own_path_;
  std::vector<std::byte> buffer_;
  E2bExportReport report_;
};

}  // namespace
}  // namespace lamina::e2b

namespace lamina {

Result<E2bExportReport> export_e2b(const E2bExportOptions& options) {
  return contain("export", [&] { return e2b::Export(options).run(); });
}

}  // namespace lamina
