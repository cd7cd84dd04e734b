#include "lamina/ingest.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "operations/with_store.h"
#include "os/directory.h"
#include "os/hole_probe.h"
#include "os/path_walk.h"
#include "os/read_lease.h"
#include "store/adoption.h"
#include "store/ancestors.h"
#include "store/areas.h"
#include "store/huge_pages.h"
#include "store/name.h"
#include "store/snapshot_build.h"
#include "store/snapshot_directory.h"
#include "store/spare_storage.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina {
namespace {

using store::OpenSnapshot;
using store::Staging;

/// A diff with more blocks of data than this normally has written zeros too (2 % in real diffs).
constexpr std::uint64_t kManyBlocks = 300;

/// One ingest.
class Ingest {
 public:
  Ingest(const store::StoreSource& stores, const IngestOptions& options)
      : stores_(stores), options_(options) {}

  Result<IngestReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_RETURN_IF_ERROR(check_options());
    LAMINA_ASSIGN_OR_RETURN(target_, store::parse_snapshot_path(options_.snapshot));
    // Clean up an existing store first: it may hold the memory file, from an ingest that was
    // killed. Make a new store only after the inputs were checked.
    std::shared_ptr<const store::Store> opened;
    if (store::is_store(target_.store)) {
      LAMINA_ASSIGN_OR_RETURN(opened, stores_.open(target_.store, report_.notes));
    }
    LAMINA_RETURN_IF_ERROR(open_inputs());
    if (!opened) {
      if (os::name_exists(AT_FDCWD, target_.path) &&
          !os::name_exists(AT_FDCWD, target_.path + "/" + store::kHeaderName)) {
        return fail(ErrorKind::kFailed,
                    "'{}' exists and is not a snapshot; to keep snapshots in it, name one: {}/NAME",
                    target_.path, target_.path);
      }
      LAMINA_ASSIGN_OR_RETURN(opened, stores_.open(target_.store, report_.notes));
    }
    LAMINA_RETURN_IF_ERROR(store_locked(*opened));
    return free_spare_storage();
  }

  Status store_locked(const store::Store& store) {
    LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.lock(target_.name));
    LAMINA_RETURN_IF_ERROR(check_target(store));
    LAMINA_RETURN_IF_ERROR(choose_layout(store));
    LAMINA_RETURN_IF_ERROR(probe_holes());
    return layout_ == Layout::kAdopted ? adopt(store) : store_compact(store);
  }

  /// Frees unneeded storage of an adopted layer, after publication and without the lock of the
  /// name.
  Status free_spare_storage() {
    if (layout_ != Layout::kAdopted) return {};
    const std::string path = target_.path + "/" + layer_name_;
    spare_.release(path, report_.notes);
    // If the layer was merged or replaced meanwhile, the report has its size at publication.
    const auto layer = os::open_regular(AT_FDCWD, path, O_RDONLY, path);
    if (layer) report_.layer_allocated_bytes = layer->facts.allocated_bytes;
    return {};
  }

  Status check_options() {
    kind_ = options_.kind;
    if (kind_ == MemoryFileKind::kAuto) {
      kind_ = options_.parent ? MemoryFileKind::kDiff : MemoryFileKind::kFull;
    }
    if (kind_ == MemoryFileKind::kDiff && !options_.parent) {
      return with_remedy(fail(ErrorKind::kUsage, "a diff needs the parent that it changes"),
                         "name it with `parent`");
    }
    if (options_.dedup == Dedup::kParent && !options_.parent) {
      return with_remedy(
          fail(ErrorKind::kUsage, "storing only what differs from the parent needs a parent"),
          "name it with `parent`");
    }
    if (kind_ == MemoryFileKind::kFull && options_.parent && options_.layout == Layout::kAdopted) {
      return with_remedy(
          fail(ErrorKind::kUsage,
               "of a full file with a parent only what differs is stored, and adopting keeps all "
               "of it"),
          "set `layout=compact`");
    }
    if (options_.build_id && options_.build_id->is_nil()) {
      return fail(ErrorKind::kUsage, "the nil UUID cannot be a build id");
    }
    build_id_ = options_.build_id.value_or(Uuid::random());
    pause_id_ = Uuid::random();
    layer_name_ = store::layer_file_name(build_id_);
    return {};
  }

  /// Opens and checks the inputs, before anything is written.
  Status open_inputs() {
    if (options_.parent) {
      LAMINA_ASSIGN_OR_RETURN(OpenSnapshot parent,
                              store::open_snapshot(*options_.parent, engine::Checksums::kSkip));
      parent_ = std::make_unique<OpenSnapshot>(std::move(parent));
    }
    LAMINA_RETURN_IF_ERROR(open_memory());
    const bool may_take = options_.consume || options_.layout == Layout::kAdopted;
    if (may_take && !place_.directory.valid()) {
      return fail(ErrorKind::kUsage,
                  "{} has no name that could be moved or removed: it can only be copied",
                  memory_name_);
    }
    if (may_take && os::name_exists(place_.directory.get(), store::kHeaderName)) {
      return with_remedy(
          fail(ErrorKind::kFailed, "'{}' belongs to a snapshot and cannot be taken from it",
               options_.memory_file),
          "set `layout=compact` and leave out `consume`");
    }
    const std::uint64_t bytes = memory_.facts.size_bytes;
    if (bytes == 0) return fail(ErrorKind::kFailed, "{} is empty", memory_name_);
    if (blocks_for(bytes) > kMaxBlocks) {
      return fail(ErrorKind::kFailed, "{} has {} bytes; memory of at most {} is supported",
                  memory_name_, bytes, kMaxBlocks * kBlockBytes);
    }
    if (parent_ && parent_->header.memory_bytes != bytes) {
      return fail(ErrorKind::kFailed,
                  "{} has {} bytes, but the memory of parent '{}' has {}: they are not of one VM",
                  memory_name_, bytes, parent_->path, parent_->header.memory_bytes);
    }
    if (parent_ && parent_->header.mapping.layer_index(build_id_) != mapping::kZeros) {
      return fail(ErrorKind::kUsage, "build id {} is already in the chain of '{}'; choose another",
                  build_id_.to_string(), parent_->path);
    }
    if (options_.vmstate_file) {
      LAMINA_RETURN_IF_ERROR(
          os::open_regular(AT_FDCWD, *options_.vmstate_file, O_RDONLY, *options_.vmstate_file));
    }
    return {};
  }

  /// Opens the memory: a file, a descriptor or a buffer.
  Status open_memory() {
    const bool has_buffer = !options_.memory.empty();
    if ((options_.memory_file.empty() ? 0 : 1) + (options_.memory_fd >= 0 ? 1 : 0) +
            (has_buffer ? 1 : 0) !=
        1) {
      return fail(ErrorKind::kUsage,
                  "give the memory as a path, as a descriptor, or as a buffer: one of them");
    }
    if (has_buffer) return copy_buffer();
    if (options_.memory_fd >= 0) return open_descriptor();
    memory_name_ = fmt::format("'{}'", options_.memory_file);
    LAMINA_ASSIGN_OR_RETURN(place_, os::resolve_user_path(options_.memory_file));
    memory_path_ = place_.path();
    LAMINA_ASSIGN_OR_RETURN(memory_, os::open_regular(place_.directory.get(), place_.name,
                                                      O_RDONLY | O_NOFOLLOW, options_.memory_file));
    return {};
  }

  /// Opens the descriptor's file by its name, if it has one: a diff and an adoption need its
  /// directory.
  Status open_descriptor() {
    memory_name_ = fmt::format("descriptor {}", options_.memory_fd);
    LAMINA_ASSIGN_OR_RETURN(memory_.facts, os::facts_of(options_.memory_fd, memory_name_));
    if (auto place = os::resolve_user_path(fmt::format("/proc/self/fd/{}", options_.memory_fd))) {
      auto named = os::open_regular(place->directory.get(), place->name, O_RDONLY | O_NOFOLLOW,
                                    memory_name_);
      if (named && named->facts.same_file(memory_.facts)) {
        memory_ = std::move(*named);
        place_ = std::move(*place);
        memory_path_ = place_.path();
        return {};
      }
    }
    LAMINA_ASSIGN_OR_RETURN(memory_.fd, os::duplicate(options_.memory_fd, memory_name_));
    if (memory_.facts.is_regular) return {};
    return fail(ErrorKind::kFailed, "{} is not of a file", memory_name_);
  }

  Status copy_buffer() {
    memory_name_ = "the buffer";
    LAMINA_ASSIGN_OR_RETURN(memory_.fd, os::make_memory_file("lamina-ingest"));
    LAMINA_RETURN_IF_ERROR(os::write_at(memory_.fd.get(), options_.memory, 0, memory_name_));
    LAMINA_ASSIGN_OR_RETURN(memory_.facts, os::facts_of(memory_.fd.get(), memory_name_));
    return {};
  }

  Status check_target(const store::Store& store) {
    if (!os::name_exists(store.fd(), target_.name)) return {};
    if (!options_.replace) {
      return with_remedy(fail(ErrorKind::kExists, "'{}' already exists", target_.path),
                         "choose another name, or set `replace`");
    }
    LAMINA_ASSIGN_OR_RETURN(const os::Fd directory,
                            os::open_directory(store.fd(), target_.name, target_.path));
    LAMINA_ASSIGN_OR_RETURN(replaced_, os::facts_of(directory.get(), target_.path));
    if (!os::name_exists(directory.get(), store::kHeaderName)) {
      return fail(ErrorKind::kFailed, "'{}' is not a snapshot and is not replaced", target_.path);
    }
    if (parent_is_target() && !parent_->directory_facts.same_file(*replaced_)) {
      return fail(ErrorKind::kBusy,
                  "'{}', the parent and the snapshot to replace, was replaced by another process "
                  "meanwhile; try again",
                  target_.path);
    }
    if (os::name_exists(directory.get(), layer_name_)) {
      return fail(ErrorKind::kUsage, "build id {} is already in '{}'; choose another",
                  build_id_.to_string(), target_.path);
    }
    return {};
  }

  /// True if the parent is the snapshot to replace.
  [[nodiscard]] bool parent_is_target() const {
    if (!parent_) return false;
    const auto parent = os::real_path(*options_.parent);
    const auto target = os::real_path(target_.path);
    return parent && target && *parent == *target;
  }

  Status choose_layout(const store::Store& store) {
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts,
                            os::facts_of(store.temporary_area(), store.path()));
    ErrorKind kind = ErrorKind::kUnsupported;
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
    if (!place_.directory.valid()) obstacle = "it has no name";
    if (obstacle.empty() &&
        ::faccessat(place_.directory.get(), place_.name.c_str(), W_OK, AT_EACCESS) != 0) {
      kind = ErrorKind::kPermission;
      obstacle = "it may not be written";
    }
    if (obstacle.empty() && memory_.facts.user != ::geteuid() && ::geteuid() != 0) {
      kind = ErrorKind::kPermission;
      obstacle = "it is another user's";
    }
    const bool stores_differences = kind_ == MemoryFileKind::kFull && options_.parent;
    const bool may_adopt =
        options_.layout == Layout::kAdopted ||
        (options_.layout == Layout::kAuto && options_.consume && !stores_differences);
    if (options_.layout == Layout::kAdopted && !obstacle.empty()) {
      return with_remedy(fail(kind, "{} cannot be adopted: {}", memory_name_, obstacle),
                         "set `layout=compact`");
    }
    layout_ = may_adopt && obstacle.empty() ? Layout::kAdopted : Layout::kCompact;
    return {};
  }

  /// Fails if the holes of a diff are not exact in its file system.
  Status probe_holes() {
    if (kind_ != MemoryFileKind::kDiff || options_.zeros == Zeros::kInherit) return {};
    if (!place_.directory.valid()) {
      return fail(ErrorKind::kFailed,
                  "{} has no name, and whether its holes are exact, which a diff depends on, is "
                  "tried out in its directory; give the diff as a file that has one",
                  memory_name_);
    }
    const std::string directory = os::parent_of(memory_path_);
    LAMINA_ASSIGN_OR_RETURN(const os::Fd fd, os::open_directory(AT_FDCWD, directory, directory));
    const auto probe = os::probe_holes(fd.get(), memory_.facts.size_bytes, directory);
    if (!probe) {
      return std::unexpected(with_context(
          fmt::format(
              "cannot try out whether holes are exact beside '{}', which a diff depends on; "
              "make '{}' writable, or move (not copy) the file within its file system",
              options_.memory_file, directory),
          probe.error()));
    }
    if (!probe->applies_to(memory_.facts)) {
      return fail(
          ErrorKind::kFailed,
          "the holes of '{}' cannot be trusted: it is not in the file system that its directory "
          "is in ({}), so whether holes are exact there cannot be tried out; name it in the "
          "directory that it was written in",
          options_.memory_file,
          probe->is_overlay ? "it is in a lower layer of an overlay, or was copied up from there"
                            : "it is mounted by itself");
    }
    if (!probe->is_exact) {
      return fail(
          ErrorKind::kFailed,
          "the holes of '{}' cannot be trusted: on the file system of '{}', {}; a diff needs a "
          "file system that tracks 4 KiB pages, so let the VMM write a full memory file here",
          options_.memory_file, directory, probe->explanation);
    }
    refuse_preallocated_ = !probe->is_exact_when_preallocated;
    return {};
  }

  Status store_compact(const store::Store& store) {
    // The file is removed afterwards, so it must not change while it is read: a lease makes writers
    // wait.
    std::optional<os::ReadLease> lease;
    if (options_.consume) {
      lease.emplace(memory_.fd.get());
      LAMINA_RETURN_IF_ERROR(os::refuse_writers(lease->writers(), options_.memory_file));
    }
    LAMINA_ASSIGN_OR_RETURN(Staging staging,
                            Staging::create(store, store::Area::kTemporary, pause_id_));
    const std::string layer_path = staging.file_path(layer_name_);
    LAMINA_ASSIGN_OR_RETURN(const os::Fd layer, os::open_at(staging.fd(), layer_name_,
                                                            O_RDWR | O_CREAT | O_EXCL, layer_path));
    LAMINA_RETURN_IF_ERROR(build(staging, layer.get(), layer_path));
    if (lease && lease->writers() == os::Writers::kNone && !lease->is_held()) {
      return fail(ErrorKind::kBusy,
                  "some process wanted to write '{}' while it was read; end it and try again",
                  options_.memory_file);
    }
    LAMINA_RETURN_IF_ERROR(publish(staging));
    if (options_.consume) consume_memory_file(*lease);
    return {};
  }

  /// Removes the memory file after publication; but not another file that has replaced it
  /// meanwhile, nor a changed one.
  void consume_memory_file(const os::ReadLease& lease) {
    const int directory = place_.directory.get();
    const auto now = os::open_regular(directory, place_.name, O_RDONLY | O_NOFOLLOW, memory_path_);
    if (!now || !now->facts.same_file(memory_.facts) ||
        now->facts.modified_ns != memory_.facts.modified_ns ||
        (lease.writers() == os::Writers::kNone && !lease.is_held())) {
      report_.notes.push_back(fmt::format(
          "'{}' was changed or replaced after it was read, and is not removed", memory_path_));
      return;
    }
    const Status removed = os::remove_file(directory, place_.name, memory_path_);
    if (!removed) report_.notes.push_back(one_line(removed.error()));
  }

  Status adopt(const store::Store& store) {
    LAMINA_ASSIGN_OR_RETURN(Staging staging,
                            Staging::create(store, store::Area::kPending, pause_id_));
    const store::AdoptedFile source{place_.directory.get(), place_.name, memory_path_,
                                    memory_.fd.get(), memory_.facts};
    auto adoption = store::Adoption::take_over(store, staging, pause_id_, source, layer_name_);
    if (adoption) return complete_adoption(staging, *adoption);
    // EXDEV on the same file system and mount: the store belongs to another quota project.
    // EOPNOTSUPP: the file system cannot tell whether the file is still open for writing.
    const int cause = adoption.error().error_number;
    if (cause != EXDEV && cause != EOPNOTSUPP) return std::unexpected(adoption.error());
    if (options_.layout == Layout::kAdopted) {
      return with_remedy(fail(ErrorKind::kUnsupported, "'{}' cannot be adopted: {}",
                              options_.memory_file, one_line(adoption.error())),
                         "set `layout=compact`");
    }
    layout_ = Layout::kCompact;
    return store_compact(store);
  }

  Status complete_adoption(Staging& staging, store::Adoption& adoption) {
    os::OpenedFile writable;
    const Status done = [&]() -> Status {
      const std::string layer_path = staging.file_path(layer_name_);
      // Opened for writing only now: a read lease is refused while this process has it open so.
      LAMINA_ASSIGN_OR_RETURN(
          writable, os::open_regular(staging.fd(), layer_name_, O_RDWR | O_NOFOLLOW, layer_path));
      LAMINA_RETURN_IF_ERROR(build(staging, writable.fd.get(), layer_path));
      return publish(staging);
    }();
    if (staging.is_published()) {
      if (done && !staging.left_replaced()) {
        adoption.commit(report_.notes);
      } else {
        adoption.leave();
      }
      spare_ = store::SpareStorage(std::move(writable.fd), std::move(spare_runs_));
      return done;
    }
    const Status undone = adoption.undo();
    if (undone) return done;
    return fail(done.error().kind, "{}; {}", one_line(done.error()), one_line(undone.error()));
  }

  /// Writes the contents of the directory, and fills the report.
  Status build(const Staging& staging, int layer, const std::string& layer_path) {
    store::BuildInput input;
    input.memory_file = memory_.fd.get();
    input.memory_path = !options_.memory_file.empty() ? options_.memory_file
                        : !memory_path_.empty()       ? memory_path_
                                                      : memory_name_;
    input.memory_facts = memory_.facts;
    input.kind = kind_;
    input.layout = layout_;
    input.zeros = options_.zeros;
    input.refuse_preallocated = refuse_preallocated_;
    input.compare_with_parent =
        parent_ && (kind_ == MemoryFileKind::kFull || options_.dedup == Dedup::kParent);
    input.parent = parent_.get();
    if (parent_) {
      if (const auto parent = store::parse_snapshot_path(*options_.parent)) {
        input.parent_name = parent->name;
        input.ancestors =
            store::ancestors_of_child(parent_->pause_id, parent_->facts, parent->store);
      }
    }
    input.build_id = build_id_;
    input.pause_id = pause_id_;
    input.header = options_.header;
    input.created = store::timestamp_now();
    input.origin.huge_pages = store::huge_pages_name(
        options_.huge_pages,
        parent_ && parent_->facts ? parent_->facts->origin.huge_pages : std::string());
    input.progress = options_.progress;
    std::optional<format::FileDigest> vmstate;
    if (options_.vmstate_file) {
      LAMINA_ASSIGN_OR_RETURN(
          vmstate, store::store_vmstate(*options_.vmstate_file, staging.fd(), staging.path()));
    }
    store::SnapshotBuild build(input);
    const Status built = build.run({staging.fd(), staging.path(), layer, layer_path}, vmstate);
    report_.notes.insert(report_.notes.end(), build.notes().begin(), build.notes().end());
    LAMINA_RETURN_IF_ERROR(built);
    note_suspected_copy(build.scanned());
    spare_runs_ = build.spare_runs();
    return fill_report(build, layer, layer_path);
  }

  Status publish(Staging& staging) {
    if (options_.progress != nullptr && options_.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    if (replaced_) return staging.publish_replacing(target_.name, *replaced_, report_.notes);
    return staging.publish_new(target_.name);
  }

  /// Notes a diff whose written zeros may have become holes: some copying tools do that.
  void note_suspected_copy(const engine::MemoryScanResult& scanned) {
    if (kind_ != MemoryFileKind::kDiff || options_.zeros != Zeros::kUnspecified) return;
    const std::uint64_t blocks = scanned.stored_blocks + scanned.unchanged_blocks;
    if (scanned.zero_blocks > 0 || blocks <= kManyBlocks) return;
    report_.notes.push_back(fmt::format(
        "'{}' has {} blocks of data and no written zeros, which is rare for a diff: if a tool "
        "copied it that makes holes of zeros (cp, mv to another file system, rsync --sparse, dd "
        "conv=sparse), memory that the guest cleared comes back with old contents; ingest the file "
        "that the VMM wrote, or confirm that this is it: set `zeros=written`",
        options_.memory_file, blocks));
  }

  Status fill_report(const store::SnapshotBuild& build, int layer, const std::string& layer_path) {
    const engine::MemoryScanResult& scanned = build.scanned();
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(layer, layer_path));
    report_.snapshot = target_.path;
    report_.build_id = build_id_;
    report_.pause_id = pause_id_;
    report_.kind = kind_;
    report_.layout = layout_;
    report_.generation = build.header().generation;
    report_.memory_bytes = build.header().memory_bytes;
    report_.stored_blocks = scanned.stored_blocks;
    report_.zero_blocks = scanned.zero_blocks;
    report_.unchanged_blocks = scanned.unchanged_blocks;
    report_.layer_bytes = facts.size_bytes;
    report_.layer_allocated_bytes = facts.allocated_bytes;
    report_.cloned_bytes = scanned.cloned_blocks * kBlockBytes;
    return {};
  }

  const store::StoreSource& stores_;
  const IngestOptions& options_;
  store::SnapshotPath target_;
  MemoryFileKind kind_ = MemoryFileKind::kFull;
  Layout layout_ = Layout::kCompact;
  bool refuse_preallocated_ = false;
  Uuid build_id_;
  Uuid pause_id_;
  std::string layer_name_;
  std::unique_ptr<OpenSnapshot> parent_;
  os::OpenedFile memory_;
  os::ResolvedPath place_;   ///< of the memory file; without directory: it has no name
  std::string memory_path_;  ///< absolute, without symbolic links; empty: it has no name
  std::string memory_name_;  ///< for messages
  std::optional<os::FileFacts> replaced_;
  std::vector<BlockRun> spare_runs_;
  store::SpareStorage spare_;
  IngestReport report_;
};

}  // namespace

Result<IngestReport> operations::ingest(const store::StoreSource& stores,
                                        const IngestOptions& options) {
  return contain("ingest", [&] { return Ingest(stores, options).run(); });
}

Result<IngestReport> ingest(const IngestOptions& options) {
  return operations::ingest({}, options);
}

}  // namespace lamina
