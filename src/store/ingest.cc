#include "lamina/ingest.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/block.h"
#include "base/error.h"
#include "engine/layer_writer.h"
#include "engine/memory_scan.h"
#include "mapping/overlay.h"
#include "store/adoption.h"
#include "store/name.h"
#include "store/snapshot_directory.h"
#include "store/staging.h"
#include "store/store.h"
#include "sys/directory.h"
#include "sys/sparse_file.h"

namespace lamina {
namespace {

using store::OpenSnapshot;
using store::Staging;

/// Zero runs shorter than this stay in an adopted file: a punch costs 10 to 80 microseconds and
/// cuts the file into pieces.
constexpr std::uint32_t kMinPunchedBlocks = 16;

/// Guest memory is nobody else's business, whatever mode the VMM gave its file.
constexpr std::uint32_t kLayerMode = 0600;

/// One ingest, from its options to the published snapshot.
class Ingest {
 public:
  explicit Ingest(const IngestOptions& options) : options_(options) {}

  Result<IngestReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_RETURN_IF_ERROR(check_options());
    LAMINA_ASSIGN_OR_RETURN(target_, store::parse_snapshot_path(options_.snapshot));
    // An existing store is cleaned up first: the memory file may be in it, from an ingest that was
    // killed. A new one is made only when the inputs are right.
    std::optional<store::Store> opened;
    if (store::Store::exists(target_.store)) {
      LAMINA_ASSIGN_OR_RETURN(opened, store::Store::open(target_.store, report_.notes));
    }
    LAMINA_RETURN_IF_ERROR(open_inputs());
    if (!opened) {
      if (sys::name_exists(AT_FDCWD, target_.path) &&
          !sys::name_exists(AT_FDCWD, target_.path + "/" + store::kHeaderName)) {
        return fail(ErrorKind::kFailed,
                    "'{}' exists and is no snapshot; to keep snapshots in it, name one: {}/NAME",
                    target_.path, target_.path);
      }
      LAMINA_ASSIGN_OR_RETURN(opened, store::Store::open(target_.store, report_.notes));
    }
    const store::Store& store = *opened;
    LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.lock(target_.name));
    LAMINA_RETURN_IF_ERROR(look_at_target(store));
    LAMINA_RETURN_IF_ERROR(choose_layout(store));
    LAMINA_RETURN_IF_ERROR(probe_holes());
    return layout_ == Layout::kAdopted ? adopt(store) : store_compact(store);
  }

  Status check_options() {
    kind_ = options_.kind;
    if (kind_ == MemoryFileKind::kAuto) {
      kind_ = options_.parent ? MemoryFileKind::kDiff : MemoryFileKind::kFull;
    }
    if (kind_ == MemoryFileKind::kDiff && !options_.parent) {
      return fail(ErrorKind::kUsage, "a diff changes a parent: name it with --parent");
    }
    if (options_.dedup == Dedup::kParent && !options_.parent) {
      return fail(ErrorKind::kUsage,
                  "--dedup parent compares with a parent: name it with --parent");
    }
    if (kind_ == MemoryFileKind::kFull && options_.parent && options_.layout == Layout::kAdopted) {
      return fail(
          ErrorKind::kUsage,
          "of a full file with a parent only what differs is stored, and adopting keeps all of "
          "it: use --layout compact");
    }
    if (options_.build_id && options_.build_id->is_nil()) {
      return fail(ErrorKind::kUsage, "the nil UUID cannot be a build id");
    }
    build_id_ = options_.build_id.value_or(Uuid::random());
    pause_id_ = Uuid::random();
    layer_name_ = store::layer_file_name(build_id_);
    return {};
  }

  /// Opens and checks what is read. Nothing has been written yet.
  Status open_inputs() {
    if (options_.parent) {
      LAMINA_ASSIGN_OR_RETURN(OpenSnapshot parent, store::open_snapshot(*options_.parent));
      parent_ = std::make_unique<OpenSnapshot>(std::move(parent));
    }
    LAMINA_ASSIGN_OR_RETURN(
        memory_, sys::open_regular(AT_FDCWD, options_.memory_file, O_RDONLY, options_.memory_file));
    LAMINA_ASSIGN_OR_RETURN(memory_path_, sys::real_path(options_.memory_file));
    const bool may_take = options_.consume || options_.layout == Layout::kAdopted;
    if (may_take &&
        sys::name_exists(AT_FDCWD, sys::parent_of(memory_path_) + "/" + store::kHeaderName)) {
      return fail(ErrorKind::kFailed,
                  "'{}' stands in a snapshot and cannot be taken from it; use --layout compact "
                  "without --consume",
                  options_.memory_file);
    }
    const std::uint64_t bytes = memory_.facts.size_bytes;
    if (bytes == 0) return fail(ErrorKind::kFailed, "'{}' is empty", options_.memory_file);
    if (blocks_for(bytes) > kMaxBlocks) {
      return fail(ErrorKind::kFailed, "'{}' has {} bytes; memory of at most {} is supported",
                  options_.memory_file, bytes, kMaxBlocks * kBlockBytes);
    }
    if (parent_ && parent_->header.memory_bytes != bytes) {
      return fail(ErrorKind::kFailed,
                  "'{}' has {} bytes, but the memory of parent '{}' has {}: they are not of one VM",
                  options_.memory_file, bytes, parent_->path, parent_->header.memory_bytes);
    }
    if (parent_ && parent_->header.mapping.layer_index(build_id_) != mapping::kZeros) {
      return fail(ErrorKind::kUsage, "build id {} is already in the chain of '{}'; choose another",
                  build_id_.to_string(), parent_->path);
    }
    if (options_.vmstate_file) {
      LAMINA_RETURN_IF_ERROR(
          sys::open_regular(AT_FDCWD, *options_.vmstate_file, O_RDONLY, *options_.vmstate_file));
    }
    return {};
  }

  Status look_at_target(const store::Store& store) {
    if (!sys::name_exists(store.fd(), target_.name)) return {};
    if (!options_.replace) {
      return fail(ErrorKind::kFailed,
                  "'{}' already exists; choose another name, or give --replace to replace it",
                  target_.path);
    }
    LAMINA_ASSIGN_OR_RETURN(const sys::Fd directory,
                            sys::open_directory(store.fd(), target_.name, target_.path));
    LAMINA_ASSIGN_OR_RETURN(replaced_, sys::facts_of(directory.get(), target_.path));
    if (!sys::name_exists(directory.get(), store::kHeaderName)) {
      return fail(ErrorKind::kFailed, "'{}' is not a snapshot and is not replaced", target_.path);
    }
    if (parent_is_target() && !parent_->directory_facts.same_file(*replaced_)) {
      return fail(ErrorKind::kBusy,
                  "'{}', the parent and the snapshot to replace, was replaced by another process "
                  "meanwhile; try again",
                  target_.path);
    }
    if (sys::name_exists(directory.get(), layer_name_)) {
      return fail(ErrorKind::kUsage, "build id {} is already in '{}'; choose another",
                  build_id_.to_string(), target_.path);
    }
    return {};
  }

  /// True when the parent and the snapshot to replace have the same name.
  [[nodiscard]] bool parent_is_target() const {
    if (!parent_) return false;
    const auto parent = sys::real_path(*options_.parent);
    const auto target = sys::real_path(target_.path);
    return parent && target && *parent == *target;
  }

  Status choose_layout(const store::Store& store) {
    LAMINA_ASSIGN_OR_RETURN(const sys::FileFacts facts,
                            sys::facts_of(store.temporary_area(), store.path()));
    std::string obstacle;
    if (facts.device != memory_.facts.device) {
      obstacle = fmt::format("it is on another file system than store '{}'", store.path());
    } else if (facts.mount != memory_.facts.mount) {
      obstacle = fmt::format("it is on another mount than store '{}'", store.path());
    } else if (memory_.facts.link_count != 1) {
      obstacle =
          fmt::format("it has {} names, and adopting would change the file under all of them",
                      memory_.facts.link_count);
    }
    if (obstacle.empty() && ::faccessat(AT_FDCWD, memory_path_.c_str(), W_OK, AT_EACCESS) != 0) {
      obstacle = "it may not be written";
    }
    const bool stores_differences = kind_ == MemoryFileKind::kFull && options_.parent;
    const bool may_adopt =
        options_.layout == Layout::kAdopted ||
        (options_.layout == Layout::kAuto && options_.consume && !stores_differences);
    if (options_.layout == Layout::kAdopted && !obstacle.empty()) {
      return fail(ErrorKind::kFailed, "'{}' cannot be adopted: {}; use --layout compact",
                  options_.memory_file, obstacle);
    }
    layout_ = may_adopt && obstacle.empty() ? Layout::kAdopted : Layout::kCompact;
    return {};
  }

  /// A diff's holes are trusted only where they are exact.
  Status probe_holes() {
    if (kind_ != MemoryFileKind::kDiff || options_.zeros == Zeros::kInherit) return {};
    const std::string directory = sys::parent_of(memory_path_);
    LAMINA_ASSIGN_OR_RETURN(const sys::Fd fd, sys::open_directory(AT_FDCWD, directory, directory));
    LAMINA_ASSIGN_OR_RETURN(const sys::FileFacts beside, sys::facts_of(fd.get(), directory));
    if (beside.mount != memory_.facts.mount ||
        (beside.mount == 0 && beside.device != memory_.facts.device)) {
      return fail(
          ErrorKind::kFailed,
          "'{}' is mounted by itself, so whether holes are exact on its file system cannot be "
          "tried out beside it; name it in the directory that it was written in",
          options_.memory_file);
    }
    const auto probe = sys::probe_holes(fd.get(), memory_.facts.size_bytes, directory);
    if (!probe) {
      return std::unexpected(with_context(
          fmt::format(
              "cannot try out whether holes are exact beside '{}', which a diff depends on; "
              "make '{}' writable, or move (not copy) the file within its file system",
              options_.memory_file, directory),
          probe.error()));
    }
    if (probe->exact) return {};
    return fail(
        ErrorKind::kFailed,
        "the holes of '{}' cannot be trusted: on the file system of '{}', {}; a diff needs a "
        "file system that tracks 4 KiB pages, so let the VMM write a full memory file here",
        options_.memory_file, directory, probe->explanation);
  }

  Status store_compact(const store::Store& store) {
    LAMINA_ASSIGN_OR_RETURN(Staging staging,
                            Staging::create(store, store::Area::kTemporary, pause_id_));
    const std::string layer_path = staging.file_path(layer_name_);
    LAMINA_ASSIGN_OR_RETURN(
        const sys::Fd layer,
        sys::open_at(staging.fd(), layer_name_, O_RDWR | O_CREAT | O_EXCL, layer_path));
    LAMINA_RETURN_IF_ERROR(scan(layer.get(), layer_path));
    LAMINA_RETURN_IF_ERROR(complete(staging, layer.get(), layer_path));
    LAMINA_RETURN_IF_ERROR(publish(staging));
    if (options_.consume) consume_memory_file();
    return {};
  }

  /// The snapshot is on the disk: what was ingested is not needed any more. Only the very file that
  /// was read is removed, not one that has come to its place meanwhile.
  void consume_memory_file() {
    const auto now = sys::open_regular(AT_FDCWD, memory_path_, O_RDONLY, memory_path_);
    if (!now || !now->facts.same_file(memory_.facts) ||
        now->facts.modified_ns != memory_.facts.modified_ns) {
      report_.notes.push_back(fmt::format(
          "'{}' was changed or exchanged after it was read, and is not removed", memory_path_));
      return;
    }
    if (::unlink(memory_path_.c_str()) != 0) {
      report_.notes.push_back(system_error("unlink", memory_path_, errno).message);
    }
  }

  Status adopt(const store::Store& store) {
    LAMINA_ASSIGN_OR_RETURN(const sys::OpenedFile writable,
                            sys::open_regular(AT_FDCWD, memory_path_, O_RDWR, memory_path_));
    if (!writable.facts.same_file(memory_.facts)) {
      return fail(ErrorKind::kFailed, "'{}' was exchanged meanwhile", options_.memory_file);
    }
    LAMINA_ASSIGN_OR_RETURN(Staging staging,
                            Staging::create(store, store::Area::kPending, pause_id_));
    LAMINA_ASSIGN_OR_RETURN(store::Adoption adoption,
                            store::Adoption::take_over(store, staging, pause_id_, memory_path_,
                                                       layer_name_, memory_.facts));
    const Status done = [&]() -> Status {
      const std::string layer_path = staging.file_path(layer_name_);
      LAMINA_RETURN_IF_ERROR(scan(-1, layer_path));
      LAMINA_RETURN_IF_ERROR(sys::set_mode(writable.fd.get(), kLayerMode, layer_path));
      LAMINA_RETURN_IF_ERROR(complete(staging, writable.fd.get(), layer_path));
      return publish(staging);
    }();
    if (staging.is_published()) {
      if (done && !staging.left_replaced()) {
        adoption.commit(report_.notes);
      } else {
        adoption.leave();
      }
      return done;
    }
    const Status undone = adoption.undo();
    if (undone) return done;
    return fail(done.error().kind, "{}; {}", done.error().message, undone.error().message);
  }

  Status scan(int compact_file, const std::string& compact_path) {
    engine::MemoryScan scan;
    scan.memory_file = memory_.fd.get();
    scan.path = options_.memory_file;
    scan.memory_bytes = memory_.facts.size_bytes;
    scan.is_full = kind_ == MemoryFileKind::kFull;
    scan.zeros_inherit = options_.zeros == Zeros::kInherit;
    scan.refuse_ambiguous = kind_ == MemoryFileKind::kDiff && options_.zeros == Zeros::kUnspecified;
    scan.parent = parent_ ? &parent_->chain : nullptr;
    scan.compare_with_parent = parent_ && (scan.is_full || options_.dedup == Dedup::kParent);
    scan.compact_file = compact_file;
    scan.compact_path = compact_path;
    scan.progress = options_.progress;
    LAMINA_ASSIGN_OR_RETURN(scanned_, engine::scan_memory_file(scan));

    LAMINA_ASSIGN_OR_RETURN(const sys::FileFacts now,
                            sys::facts_of(memory_.fd.get(), options_.memory_file));
    if (now.size_bytes != memory_.facts.size_bytes ||
        now.modified_ns != memory_.facts.modified_ns) {
      return fail(ErrorKind::kFailed,
                  "'{}' changed while it was read: ingest it when its writer has ended",
                  options_.memory_file);
    }
    return {};
  }

  /// Writes everything that stands in the directory besides the layer's data.
  Status complete(const Staging& staging, int layer, const std::string& layer_path) {
    const auto block_count = static_cast<std::uint32_t>(blocks_for(memory_.facts.size_bytes));
    const mapping::Mapping base =
        parent_ ? parent_->header.mapping : mapping::Mapping::zeros(block_count);
    LAMINA_ASSIGN_OR_RETURN(mapping::Mapping mapping,
                            mapping::overlay(base, build_id_, scanned_.changes));
    LAMINA_RETURN_IF_ERROR(write_trailer(mapping, layer, layer_path));
    LAMINA_RETURN_IF_ERROR(link_parent_layers(mapping, staging));
    link_working_set(staging);

    store::Description description;
    description.pause_id = pause_id_;
    description.created = store::timestamp_now();
    if (parent_) {
      description.parent_pause_id = parent_->pause_id;
      if (const auto parent = store::parse_snapshot_path(*options_.parent)) {
        description.parent = parent->name;
      }
    }
    LAMINA_ASSIGN_OR_RETURN(description.header, make_header(std::move(mapping)));
    if (options_.vmstate_file) {
      LAMINA_ASSIGN_OR_RETURN(
          description.header.vmstate,
          store::store_vmstate(*options_.vmstate_file, staging.fd(), staging.path()));
    }
    LAMINA_RETURN_IF_ERROR(store::write_description(description, staging.fd(), staging.path(),
                                                    store::kHeaderName, store::kFactsName));
    return fill_report(description.header, layer, layer_path);
  }

  Status write_trailer(const mapping::Mapping& mapping, int layer, const std::string& layer_path) {
    std::vector<format::StoredExtent> stored;
    for (const mapping::Change& change : scanned_.changes) {
      if (!change.zero) stored.push_back({change.guest_block, change.block_count, 0, 0});
    }
    const auto layout =
        layout_ == Layout::kAdopted ? format::LayerLayout::kAdopted : format::LayerLayout::kCompact;
    format::Trailer trailer = engine::describe_layer(mapping, build_id_, std::move(stored), layout,
                                                     memory_.facts.size_bytes);
    trailer.pause_id = pause_id_;
    trailer.checksums = std::move(scanned_.checksums);
    data_blocks_ = trailer.data_blocks;
    LAMINA_RETURN_IF_ERROR(engine::finish_layer(layer, trailer, layer_path));
    // Only now are the zeros on record, so their storage can go; and only in a full file, where a
    // hole means the same: undoing the adoption gives back a file that says what it said.
    if (layout_ == Layout::kAdopted && kind_ == MemoryFileKind::kFull) {
      punch_zeros(layer, layer_path);
    }
    return {};
  }

  /// Saves space, nothing else depends on it.
  void punch_zeros(int layer, const std::string& layer_path) {
    for (const mapping::Change& change : scanned_.changes) {
      if (!change.zero || change.block_count < kMinPunchedBlocks) continue;
      const auto punched = sys::punch_hole(layer, change.guest_block * kBlockBytes,
                                           change.block_count * kBlockBytes, layer_path);
      if (!punched) {
        report_.notes.push_back(
            fmt::format("zeros keep their storage: {}", punched.error().message));
      }
      if (!punched || !*punched) return;
    }
  }

  Status link_parent_layers(const mapping::Mapping& mapping, const Staging& staging) {
    if (!parent_) return {};
    for (const engine::Layer& layer : parent_->chain.layers()) {
      if (mapping.layer_index(layer.build_id()) == mapping::kZeros) continue;
      LAMINA_ASSIGN_OR_RETURN(const bool linked,
                              store::link_layer(layer, staging.fd(), staging.path()));
      if (!linked) {
        report_.notes.push_back(fmt::format(
            "layer '{}' was copied: a hard link from here to it is not possible", layer.path()));
      }
    }
    return {};
  }

  /// What the parent's resume touched first, this one's will. A hint: without it all is as right.
  void link_working_set(const Staging& staging) {
    if (!parent_) return;
    const std::string name = store::kWorkingSetName;
    const std::string path = parent_->path + "/" + name;
    const auto opened =
        sys::open_regular(parent_->directory.get(), name, O_RDONLY | O_NOFOLLOW, path);
    if (!opened) return;
    static_cast<void>(store::link_or_copy(opened->fd.get(), opened->facts, path, name, staging.fd(),
                                          staging.path()));
  }

  Result<format::Header> make_header(mapping::Mapping mapping) {
    format::Header header;
    header.format = options_.header;
    header.pause_id = options_.header == HeaderFormat::kNative ? pause_id_ : Uuid{};
    header.build_id = build_id_;
    header.base_build_id = parent_ ? parent_->header.base_build_id : build_id_;
    header.memory_bytes = memory_.facts.size_bytes;
    for (const Uuid& id : mapping.layers()) {
      if (id == build_id_) {
        header.layers.push_back({data_blocks_, true});
      } else {
        const auto index = parent_->header.mapping.layer_index(id);
        header.layers.push_back(parent_->header.layers[index - 1U]);
      }
    }
    header.generation = mapping.layers().size() - 1;
    if (options_.header != HeaderFormat::kNative && parent_) {
      // These versions count every diff since the base, also when it superseded a layer in full.
      if (parent_->header.generation == UINT64_MAX) {
        return fail(ErrorKind::kCorrupt, "the header of '{}' has generation {}", parent_->path,
                    parent_->header.generation);
      }
      header.generation = parent_->header.generation + 1;
    }
    header.mapping = std::move(mapping);
    return header;
  }

  Status publish(Staging& staging) {
    if (options_.progress != nullptr && options_.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    if (replaced_) return staging.publish_replacing(target_.name, *replaced_, report_.notes);
    return staging.publish_new(target_.name);
  }

  Status fill_report(const format::Header& header, int layer, const std::string& layer_path) {
    LAMINA_ASSIGN_OR_RETURN(const sys::FileFacts facts, sys::facts_of(layer, layer_path));
    report_.snapshot = target_.path;
    report_.build_id = build_id_;
    report_.pause_id = pause_id_;
    report_.kind = kind_;
    report_.layout = layout_;
    report_.generation = header.generation;
    report_.memory_bytes = header.memory_bytes;
    report_.stored_blocks = scanned_.stored_blocks;
    report_.zero_blocks = scanned_.zero_blocks;
    report_.unchanged_blocks = scanned_.unchanged_blocks;
    report_.layer_bytes = facts.size_bytes;
    report_.layer_allocated_bytes = facts.allocated_bytes;
    report_.cloned_bytes = scanned_.cloned_blocks * kBlockBytes;
    return {};
  }

  const IngestOptions& options_;
  store::SnapshotPath target_;
  MemoryFileKind kind_ = MemoryFileKind::kFull;
  Layout layout_ = Layout::kCompact;
  Uuid build_id_;
  Uuid pause_id_;
  std::string layer_name_;
  std::unique_ptr<OpenSnapshot> parent_;
  sys::OpenedFile memory_;
  std::string memory_path_;  ///< absolute, without symbolic links
  std::optional<sys::FileFacts> replaced_;
  engine::MemoryScanResult scanned_;
  std::uint64_t data_blocks_ = 0;
  IngestReport report_;
};

}  // namespace

Result<IngestReport> ingest(const IngestOptions& options) { return Ingest(options).run(); }

}  // namespace lamina
