#include "lamina/repair.h"

#include <fcntl.h>

#include <map>
#include <optional>
#include <set>

#include "base/contain.h"
#include "base/error.h"
#include "engine/chain.h"
#include "engine/layer.h"
#include "engine/rebuild.h"
#include "format/header_codec.h"
#include "operations/with_store.h"
#include "os/directory.h"
#include "store/name.h"
#include "store/snapshot_directory.h"
#include "store/store.h"

namespace lamina {
namespace {

using store::SnapshotFacts;

using store::kNewFactsName;
using store::kNewHeaderName;

class Repair {
 public:
  Repair(const store::StoreSource& stores, std::string path)
      : stores_(stores), path_(std::move(path)) {}

  Result<RepairReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath parsed, store::parse_snapshot_path(path_));
    auto directory = os::open_directory(AT_FDCWD, path_, path_);
    if (!directory) {
      if (directory.error().kind != ErrorKind::kNotFound) return std::unexpected(directory.error());
      return fail(ErrorKind::kNotFound, "snapshot '{}' does not exist", path_);
    }
    // Do not make a store around a directory that has no files of a snapshot.
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            os::list_directory(directory->get(), path_));
    if (std::none_of(names.begin(), names.end(),
                     [](const std::string& name) { return name.starts_with("memfile"); })) {
      return fail(ErrorKind::kNotFound,
                  "'{}' has neither a header nor a layer: it is not a snapshot", path_);
    }
    LAMINA_ASSIGN_OR_RETURN(const auto opened, stores_.open(parsed.store, report_.notes));
    const store::Store& store = *opened;
    LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.lock(parsed.name));
    LAMINA_ASSIGN_OR_RETURN(directory_, os::open_directory(store.fd(), parsed.name, path_));

    const auto facts = store::read_facts(directory_.get(), path_);
    if (!facts && facts.error().kind != ErrorKind::kCorrupt) return std::unexpected(facts.error());
    if (facts) facts_ = *facts;
    const auto header = store::read_header(directory_.get(), path_);
    const bool header_is_good = header.has_value() || facts_are_the_problem(header.error(), facts);
    if (!header_is_good && header.error().kind != ErrorKind::kCorrupt &&
        header.error().kind != ErrorKind::kNotFound) {
      return std::unexpected(header.error());
    }
    LAMINA_RETURN_IF_ERROR(os::remove_file(directory_.get(), kNewHeaderName, path_));
    LAMINA_RETURN_IF_ERROR(os::remove_file(directory_.get(), kNewFactsName, path_));
    if (header_is_good && facts && (*facts || !is_ours())) {
      // Nothing is missing that repair could rebuild. Opening the snapshot reports other errors.
      LAMINA_RETURN_IF_ERROR(store::open_snapshot(path_));
      // A killed repair may have renamed the files without a sync.
      return os::sync(directory_.get(), path_);
    }
    if (header_is_good) return rebuild_facts();
    store::Description description;
    LAMINA_RETURN_IF_ERROR(describe_from_trailers(description));
    report_.header_rebuilt = true;
    report_.facts_rebuilt = !facts || !*facts;
    LAMINA_RETURN_IF_ERROR(replace_files(description));
    if (!doubt_.empty()) report_.notes.push_back(doubt_);
    return {};
  }

  /// Reading a version 1 header also reads the facts; damaged facts do not mean a damaged header.
  static bool facts_are_the_problem(const Error& header_error,
                                    const Result<std::optional<SnapshotFacts>>& facts) {
    return !facts && header_error.message == facts.error().message;
  }

  /// True if lamina wrote the snapshot, which then has facts: a layer has a trailer.
  bool is_ours() { return load_layers() && !trailers_.empty(); }

  Status load_layers() {
    if (loaded_) return {};
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            os::list_directory(directory_.get(), path_));
    for (const std::string& name : names) {
      const auto id = store::parse_layer_file_name(name);
      if (!id) continue;
      LAMINA_ASSIGN_OR_RETURN(
          engine::Layer layer,
          engine::Layer::open(directory_.get(), name, path_ + "/" + name, *id, false));
      layers_.push_back(std::move(layer));
    }
    for (const engine::Layer& layer : layers_) {
      if (layer.trailer()) trailers_.push_back(&*layer.trailer());
    }
    loaded_ = true;
    return {};
  }

  /// Writes new facts for a header that can be read.
  Status rebuild_facts() {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, read_header_bytes());
    store::Description description;
    LAMINA_ASSIGN_OR_RETURN(description.header, format::decode_header(bytes));
    format::Header& header = description.header;
    LAMINA_RETURN_IF_ERROR(load_layers());
    description.created = store::timestamp_now();
    if (header.format == HeaderFormat::kNative) {
      description.pause_id = header.pause_id;
    } else {
      LAMINA_RETURN_IF_ERROR(confirm_by_trailers(header, description.pause_id));
      LAMINA_RETURN_IF_ERROR(restore_vmstate(header));
    }
    LAMINA_RETURN_IF_ERROR(check_readable(header));
    LAMINA_RETURN_IF_ERROR(
        store::write_facts(description, bytes, directory_.get(), path_, kNewFactsName));
    LAMINA_RETURN_IF_ERROR(os::rename_over(directory_.get(), kNewFactsName, directory_.get(),
                                           store::kFactsName, path_));
    report_.facts_rebuilt = true;
    return os::sync(directory_.get(), path_);
  }

  /// A version 1 or 3 header has no checksum, and its digest was in the lost facts. So it is
  /// accepted only if the trailers of all layers give the same memory.
  Status confirm_by_trailers(format::Header& header, Uuid& pause_id) {
    const auto cannot = [&](const std::string& why) -> Status {
      return fail(ErrorKind::kCorrupt,
                  "{} of '{}' cannot be rebuilt: {}; without it the snapshot is read unchecked",
                  store::kFactsName, path_, why);
    };
    for (const engine::Layer& layer : layers_) {
      if (!layer.trailer()) {
        return cannot(
            fmt::format("layer '{}' has no trailer, and may have been truncated", layer.path()));
      }
    }
    const auto rebuilt = engine::rebuild_state(trailers_);
    if (!rebuilt) return cannot(one_line(rebuilt.error()));
    if (rebuilt->build_id != header.build_id || rebuilt->memory_bytes != header.memory_bytes ||
        !same_places(rebuilt->mapping, header.mapping)) {
      return cannot("the header and the trailers of the layers give different memory");
    }
    pause_id = rebuilt->pause_id;
    for (format::LayerFacts& layer : header.layers) layer.has_checksums = true;
    return {};
  }

  /// True if both map every block to the same place, apart from the numbering of the layers.
  static bool same_places(const mapping::Mapping& a, const mapping::Mapping& b) {
    if (a.block_count() != b.block_count() || a.extent_count() != b.extent_count()) return false;
    for (std::size_t i = 0; i < a.extent_count(); ++i) {
      const mapping::Extent ours = a.extent(i);
      const mapping::Extent theirs = b.extent(i);
      const bool zero = ours.layer == mapping::kZeros;
      if (ours.guest_block != theirs.guest_block || ours.block_count != theirs.block_count ||
          ours.storage_block != theirs.storage_block || zero != (theirs.layer == mapping::kZeros) ||
          (!zero && a.layer_id(ours.layer) != b.layer_id(theirs.layer))) {
        return false;
      }
    }
    return true;
  }

  /// Makes the checks of every reader before anything is written: each layer exists and fits the
  /// header, and each extent is where the layer's trailer has it.
  [[nodiscard]] Status check_readable(const format::Header& header) const {
    LAMINA_ASSIGN_OR_RETURN(std::vector<engine::Layer> layers,
                            store::open_layers(directory_.get(), path_, header, std::nullopt,
                                               engine::Checksums::kLoad));
    LAMINA_RETURN_IF_ERROR(engine::Chain::create(header.mapping, std::move(layers)));
    return {};
  }

  Result<std::vector<std::byte>> read_header_bytes() {
    const std::string path = path_ + "/" + store::kHeaderName;
    LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile opened,
                            os::open_regular(directory_.get(), store::kHeaderName, O_RDONLY, path));
    return store::read_header_bytes(opened.fd.get(), path);
  }

  Status describe_from_trailers(store::Description& description) {
    LAMINA_RETURN_IF_ERROR(load_layers());
    LAMINA_RETURN_IF_ERROR(check_all_have_trailers());
    auto rebuilt = engine::rebuild_state(trailers_);
    if (!rebuilt) {
      return std::unexpected(with_context(
          fmt::format("the header of '{}' cannot be rebuilt", path_), rebuilt.error()));
    }
    LAMINA_RETURN_IF_ERROR(check_against_facts(*rebuilt));
    if (!facts_) LAMINA_RETURN_IF_ERROR(admit_doubt(*rebuilt));
    format::Header& header = description.header;
    header.format = facts_ ? facts_->header_format : HeaderFormat::kNative;
    header.build_id = rebuilt->build_id;
    header.memory_bytes = rebuilt->memory_bytes;
    header.pause_id = header.format == HeaderFormat::kNative ? rebuilt->pause_id : Uuid{};
    header.mapping = std::move(rebuilt->mapping);
    header.base_build_id = header.mapping.layers().front();
    header.generation = header.mapping.layers().size() - 1;
    std::map<Uuid, std::uint64_t> data_blocks;
    for (const engine::Layer& layer : layers_) data_blocks[layer.build_id()] = layer.data_blocks();
    for (const Uuid& id : header.mapping.layers()) {
      const auto found = data_blocks.find(id);
      if (found != data_blocks.end()) header.layers.push_back({found->second, true});
    }
    LAMINA_RETURN_IF_ERROR(check_readable(header));
    description.pause_id = rebuilt->pause_id;
    description.created = store::timestamp_now();
    if (facts_) {
      description.created = facts_->created;
      description.parent = facts_->parent;
      description.parent_pause_id = facts_->parent_pause_id;
      description.ancestors = facts_->ancestors;
      header.vmstate = facts_->vmstate;
      if (header.format != HeaderFormat::kNative) header.generation = facts_->generation;
      return {};
    }
    return restore_vmstate(header);
  }

  /// A truncated layer has lost its trailer: what it holds, and whether it is the youngest, is
  /// unknown.
  [[nodiscard]] Status check_all_have_trailers() const {
    for (const engine::Layer& layer : layers_) {
      if (layer.trailer()) continue;
      return fail(ErrorKind::kCorrupt,
                  "the header of '{}' cannot be rebuilt: layer '{}' has no trailer; either it was "
                  "truncated, or another program wrote it",
                  path_, layer.path());
    }
    return {};
  }

  /// If snapshot.json is intact it identifies the snapshot. If the youngest layer is missing, or a
  /// foreign layer is in the directory, the layers give another state of the VM, which must not
  /// replace it.
  [[nodiscard]] Status check_against_facts(const engine::RebuiltState& rebuilt) const {
    if (!facts_) return {};
    const auto cannot = [&](ErrorKind kind, const std::string& why) -> Status {
      return fail(kind, "the header of '{}' cannot be rebuilt: {}", path_, why);
    };
    std::set<Uuid> present;
    for (const engine::Layer& layer : layers_) present.insert(layer.build_id());
    for (const store::LayerFact& layer : facts_->layers) {
      if (!present.contains(layer.build_id)) {
        return cannot(ErrorKind::kNotFound,
                      fmt::format("layer {} is needed, and is not in this directory",
                                  layer.build_id.to_string()));
      }
    }
    if (layers_.size() != facts_->layers.size()) {
      return cannot(
          ErrorKind::kCorrupt,
          fmt::format("the directory has {} layers, but {} names {}; move the others away",
                      layers_.size(), store::kFactsName, facts_->layers.size()));
    }
    if (rebuilt.build_id != facts_->build_id || rebuilt.pause_id != facts_->pause_id) {
      return cannot(ErrorKind::kCorrupt,
                    fmt::format("the layers give pause {}, but {} is of pause {}",
                                rebuilt.pause_id.to_string(), store::kFactsName,
                                facts_->pause_id.to_string()));
    }
    return {};
  }

  /// If header and facts are both lost, nothing tells which pause the snapshot was: if the youngest
  /// layer is lost too, the layers give the pause before it. That memory is right for that pause,
  /// but a VM state of another pause beside it would break the guest.
  Status admit_doubt(const engine::RebuiltState& rebuilt) {
    if (os::name_exists(directory_.get(), store::kVmstateName)) {
      return fail(
          ErrorKind::kCorrupt,
          "the header of '{0}' cannot be rebuilt beside '{1}': with {2} lost too, nothing says "
          "that the VM state is of pause {3}, which the layers give; move '{1}' away to have "
          "the memory alone",
          path_, store::kVmstateName, store::kFactsName, rebuilt.pause_id.to_string());
    }
    doubt_ =
        fmt::format("with {} lost too, nothing says that '{}' was pause {}, which the layers give",
                    store::kFactsName, path_, rebuilt.pause_id.to_string());
    return {};
  }

  /// The digest of the VM state is lost, and is computed from the file.
  Status restore_vmstate(format::Header& header) {
    if (!os::name_exists(directory_.get(), store::kVmstateName)) return {};
    LAMINA_ASSIGN_OR_RETURN(header.vmstate, store::digest_vmstate(directory_.get(), path_));
    report_.notes.push_back(
        fmt::format("the digest of '{}/{}' was lost, and was computed from the file", path_,
                    store::kVmstateName));
    return {};
  }

  Status replace_files(const store::Description& description) {
    const int fd = directory_.get();
    const Status written =
        store::write_description(description, fd, path_, kNewHeaderName, kNewFactsName);
    if (!written) {
      static_cast<void>(os::remove_file(fd, kNewHeaderName, path_));
      static_cast<void>(os::remove_file(fd, kNewFactsName, path_));
      return written;
    }
    // A crash between the two leaves no readable header; another repair then rebuilds it.
    LAMINA_RETURN_IF_ERROR(os::rename_over(fd, kNewFactsName, fd, store::kFactsName, path_));
    LAMINA_RETURN_IF_ERROR(os::rename_over(fd, kNewHeaderName, fd, store::kHeaderName, path_));
    LAMINA_RETURN_IF_ERROR(os::sync(fd, path_));
    // Check that the rebuilt snapshot can be opened.
    LAMINA_RETURN_IF_ERROR(store::open_snapshot(path_));
    return {};
  }

  const store::StoreSource& stores_;
  std::string path_;
  os::Fd directory_;
  std::optional<SnapshotFacts> facts_;
  bool loaded_ = false;
  std::vector<engine::Layer> layers_;
  std::vector<const format::Trailer*> trailers_;
  std::string doubt_;  ///< a note about a rebuilt header; may be empty
  RepairReport report_;
};

}  // namespace

Result<RepairReport> operations::repair(const store::StoreSource& stores,
                                        const std::string& snapshot) {
  return contain("repair", [&] { return Repair(stores, snapshot).run(); });
}

Result<RepairReport> repair(const std::string& snapshot) {
  return operations::repair({}, snapshot);
}

}  // namespace lamina
