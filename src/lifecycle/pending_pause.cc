#include "lifecycle/pending_pause.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "engine/layer.h"
#include "engine/lost_writes.h"
#include "lifecycle/written_runs.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/range_copy.h"
#include "os/read_lease.h"
#include "os/sparse_file.h"
#include "store/pending_area.h"
#include "store/snapshot_build.h"
#include "store/snapshot_link.h"

namespace lamina::lifecycle {
namespace {

constexpr const char* kReserveName = ".reserve";
constexpr std::uint32_t kPrivateMode = 0600;
/// A copy from a jail until it is whole.
constexpr const char* kFetchedName = ".fetched";

/// Of a trailer and a header, for each block of memory at most: its checksum and, when every other
/// block is changed, half an extent in the trailer and one in the header. And what each of the
/// base's extents takes in the header.
constexpr std::uint64_t kReservedPerBlock = 24;
constexpr std::uint64_t kReservedPerExtent = 16;
constexpr std::uint64_t kReservedAlways = std::uint64_t{1} << 20;

Status sync_pending_area(const store::Store& store) {
  return os::sync(store.pending_area(), store::pending_path(store, "."));
}

/// Moves a file here that may be on another file system, as ours alone. What is not there (any
/// more) has been moved before.
Status move_here(const store::OpenJailDirectory& jail, const std::string& from_path, int to,
                 const std::string& to_path, const std::string& name) {
  const int from = jail.directory.get();
  const std::string source_path = from_path + "/" + name;
  const std::string target_path = to_path + "/" + name;
  const auto source = os::open_regular(from, name, O_RDONLY | O_NOFOLLOW, source_path);
  if (!source) {
    if (source.error().kind == ErrorKind::kNotFound) return {};
    return std::unexpected(source.error());
  }
  // The VMM's user makes the files, and can have linked another user's there instead.
  if (source->facts.user != jail.user) {
    return fail(
        ErrorKind::kFailed,
        "'{}' belongs to user {}, not to user {}, whose VM was to write it: it is not taken",
        source_path, source->facts.user, jail.user);
  }
  if (source->facts.link_count == 1 && ::renameat(from, name.c_str(), to, name.c_str()) == 0) {
    // The rename went by name, and who owns the directory may have exchanged the file: what has
    // come here must be the one that was looked at, and nobody else's as well.
    LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile moved,
                            os::open_regular(to, name, O_RDONLY | O_NOFOLLOW, target_path));
    if (moved.facts.same_file(source->facts) && moved.facts.link_count == 1) {
      LAMINA_RETURN_IF_ERROR(os::take_ownership(moved.fd.get(), target_path));
      return os::set_mode(moved.fd.get(), kPrivateMode, target_path);
    }
  }
  // Under a name of its own until it is whole: what stands under the right one may by now be the
  // only name of the file.
  LAMINA_RETURN_IF_ERROR(os::remove_file(to, kFetchedName, target_path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd copy,
                          os::copy_to_new_file(source->fd.get(), source->facts.size_bytes,
                                               source_path, to, kFetchedName, target_path));
  LAMINA_RETURN_IF_ERROR(os::sync(copy.get(), target_path));
  LAMINA_RETURN_IF_ERROR(os::rename_over(to, kFetchedName, to, name, target_path));
  LAMINA_RETURN_IF_ERROR(os::sync(to, to_path));
  return os::remove_file(from, name, source_path);
}

Status check_own(const store::Store& store, const store::PauseJournal& journal) {
  const std::string why = store::why_foreign(journal.belongs_to, store.identity());
  if (why.empty()) return {};
  return fail(ErrorKind::kFailed,
              "pause {} is not acted upon: {}; to make it this store's: lamina recover {} "
              "--adopt-store",
              journal.pause_id.to_string(), why, store.path());
}

/// Makes a file that the VMM has written one that nobody else can write: ours, and no process has
/// it open for writing any more. Of one that some process has, or that has a name elsewhere, a copy
/// takes the place. `is_foreign`: its VMM runs as another user, so it is also copied where the file
/// system cannot say who has it open.
Status make_ours_alone(int directory, const std::string& directory_path, const std::string& name,
                       bool is_foreign) {
  const std::string path = directory_path + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(directory, name, O_RDONLY | O_NOFOLLOW, path));
  if (file.facts.user != ::geteuid()) {
    LAMINA_RETURN_IF_ERROR(os::take_ownership(file.fd.get(), path));
  }
  LAMINA_RETURN_IF_ERROR(os::set_mode(file.fd.get(), kPrivateMode, path));
  const os::Writers writers = os::writers_of(file.fd.get());
  const bool is_others = is_foreign || file.facts.user != ::geteuid();
  const bool is_alone =
      writers == os::Writers::kNone || (writers == os::Writers::kUnknown && !is_others);
  if (is_alone && file.facts.link_count == 1) return {};
  LAMINA_RETURN_IF_ERROR(os::remove_file(directory, kFetchedName, path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd copy,
                          os::open_at(directory, kFetchedName, O_RDWR | O_CREAT | O_EXCL, path));
  LAMINA_RETURN_IF_ERROR(
      os::copy_through_memory(file.fd.get(), copy.get(), file.facts.size_bytes, path, path));
  LAMINA_RETURN_IF_ERROR(os::sync(copy.get(), path));
  LAMINA_RETURN_IF_ERROR(os::rename_over(directory, kFetchedName, directory, name, path));
  return os::sync(directory, directory_path);
}

}  // namespace

Result<PendingPause> PendingPause::begin(const store::Store& store,
                                         const store::PauseJournal& journal,
                                         std::uint64_t memory_bytes, std::uint64_t base_extents) {
  PendingPause pause(store, journal);
  LAMINA_ASSIGN_OR_RETURN(store::Staging staging,
                          store::Staging::create(store, store::Area::kPending, journal.pause_id));
  pause.staging_.emplace(std::move(staging));
  const Status prepared = [&]() -> Status {
    // The journal first: a directory that has files belongs to one.
    LAMINA_RETURN_IF_ERROR(pause.write_journal(journal));
    const std::string reserve = pause.path() + "/" + kReserveName;
    LAMINA_ASSIGN_OR_RETURN(const os::Fd fd, os::open_at(pause.directory(), kReserveName,
                                                         O_RDWR | O_CREAT | O_EXCL, reserve));
    return os::allocate(fd.get(),
                        blocks_for(memory_bytes) * kReservedPerBlock +
                            base_extents * kReservedPerExtent + kReservedAlways,
                        reserve);
  }();
  if (prepared) return pause;
  if (pause.remove_files()) static_cast<void>(pause.end());
  return std::unexpected(prepared.error());
}

Result<std::optional<PendingPause>> PendingPause::claim(const store::Store& store,
                                                        const Uuid& pause_id) {
  LAMINA_ASSIGN_OR_RETURN(std::optional<store::PauseJournal> journal,
                          store::read_pause_journal(store, pause_id));
  if (!journal) return std::nullopt;
  LAMINA_RETURN_IF_ERROR(check_own(store, *journal));
  LAMINA_ASSIGN_OR_RETURN(std::optional<store::Staging> staging,
                          store::Staging::open_existing(store, pause_id));
  if (!staging && os::name_exists(store.pending_area(), pause_id.to_string())) {
    return std::nullopt;  // another process has it
  }
  // Once more under the lock: its holder may have written it meanwhile, or ended.
  LAMINA_ASSIGN_OR_RETURN(journal, store::read_pause_journal(store, pause_id));
  if (!journal) return std::nullopt;
  LAMINA_RETURN_IF_ERROR(check_own(store, *journal));
  PendingPause pause(store, std::move(*journal));
  if (!staging) {
    // Whoever renamed the directory may have been killed before that was on the disk: the journal
    // must not go first.
    LAMINA_RETURN_IF_ERROR(os::sync(store.fd(), store.path()));
    LAMINA_RETURN_IF_ERROR(sync_pending_area(store));
    return std::optional(std::move(pause));
  }
  pause.staging_.emplace(std::move(*staging));
  LAMINA_ASSIGN_OR_RETURN(const bool replaced, pause.is_what_it_replaced());
  if (replaced) LAMINA_RETURN_IF_ERROR(pause.remove_replaced());
  return std::optional(std::move(pause));
}

/// What stands under the name may be the directory that this pause has replaced: then it is a whole
/// snapshot, of another pause.
Result<bool> PendingPause::is_what_it_replaced() const {
  const auto has = [&](const std::string& name) -> Result<bool> {
    const auto found = os::facts_of_name(directory(), name, path() + "/" + name);
    if (!found && found.error().kind != ErrorKind::kNotFound) {
      return std::unexpected(found.error());
    }
    return found.has_value();
  };
  // A header of our own is not written before the memory file is here.
  LAMINA_ASSIGN_OR_RETURN(const bool has_header, has(store::kHeaderName));
  LAMINA_ASSIGN_OR_RETURN(const bool has_layer, has(layer_name()));
  return has_header && !has_layer;
}

Status PendingPause::remove_replaced() {
  std::vector<std::string> notes;  // the next opening of the store has its own
  LAMINA_RETURN_IF_ERROR(store::remove_pending(*store_, journal_.pause_id.to_string(), notes));
  staging_.reset();
  return {};
}

std::string PendingPause::path() const {
  return store::pending_path(*store_, journal_.pause_id.to_string());
}

/// The journal must find space also when the VMM has filled the disk.
void PendingPause::shrink_reserve() const {
  constexpr std::uint64_t kStepBytes = std::uint64_t{256} << 10;
  if (!staging_) return;
  const auto reserve =
      os::open_regular(directory(), kReserveName, O_RDWR | O_NOFOLLOW, kReserveName);
  if (!reserve || reserve->facts.size_bytes < kStepBytes) return;
  static_cast<void>(
      os::truncate(reserve->fd.get(), reserve->facts.size_bytes - kStepBytes, kReserveName));
}

Status PendingPause::replace_journal(const store::PauseJournal& written) {
  store::PauseJournal journal = written;
  journal.belongs_to = store_->identity();
  shrink_reserve();
  const std::string text = store::encode_pause_journal(journal);
  const std::string name = store::journal_name(journal.pause_id.to_string());
  const std::string fresh = journal.pause_id.to_string() + std::string(store::kNewJournalSuffix);
  const int area = store_->pending_area();
  LAMINA_RETURN_IF_ERROR(os::replace_file(area, fresh, name, std::as_bytes(std::span(text)),
                                          store::pending_path(*store_, ".")));
  journal_ = std::move(journal);
  return {};
}

Status PendingPause::write_journal(const store::PauseJournal& journal) {
  const store::PauseJournal before = journal_;
  const Status written = [&]() -> Status {
    LAMINA_RETURN_IF_ERROR(replace_journal(journal));
    return sync_pending_area(*store_);
  }();
  if (!written) journal_ = before;
  return written;
}

Status PendingPause::note_jail_directory(std::uint64_t inode) {
  store::PauseJournal journal = journal_;
  journal.jail_directory.inode = inode;
  // What is in memory counts also when it cannot be written.
  journal_.jail_directory.inode = inode;
  return replace_journal(journal);
}

Status PendingPause::acknowledge(std::uint64_t memory_bytes) {
  store::PauseJournal journal = journal_;
  journal.acknowledged = true;
  journal.memory_bytes = memory_bytes;
  return write_journal(journal);
}

Status PendingPause::record_written(int memory_file, std::uint64_t memory_bytes) const {
  shrink_reserve();
  LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> written,
                          os::written_ranges(memory_file, memory_bytes, layer_name()));
  return write_written_runs(written, directory(), path());
}

Status PendingPause::remove_files() {
  // The jail may be gone, or be somebody's who does not let us.
  static_cast<void>(store::remove_jail_directory(journal_.jail_directory));
  std::vector<std::string> notes;  // the next opening of the store has its own
  LAMINA_RETURN_IF_ERROR(store::remove_pending(*store_, journal_.pause_id.to_string(), notes));
  staging_.reset();
  return {};
}

bool PendingPause::has_lost_files() const {
  if (!staging_) return false;
  std::optional<store::OpenJailDirectory> jail;
  if (!journal_.jail_directory.path.empty()) {
    auto opened = store::open_jail_directory(journal_.jail_directory);
    // With another directory in its place nobody knows; it may be put back.
    if (!opened && opened.error().kind != ErrorKind::kNotFound) return false;
    if (opened) jail.emplace(std::move(*opened));
  }
  for (const std::string& name : {layer_name(), std::string(store::kVmstateName)}) {
    const bool is_here = os::name_exists(directory(), name);
    const bool is_in_jail = jail && os::name_exists(jail->directory.get(), name);
    if (!is_here && !is_in_jail) return true;
  }
  return false;
}

Status PendingPause::fetch_from_jail(std::vector<std::string>& notes) const {
  if (journal_.jail_directory.path.empty()) return {};
  const std::string& jail = journal_.jail_directory.path;
  const auto from = store::open_jail_directory(journal_.jail_directory);
  if (!from) {
    if (from.error().kind == ErrorKind::kNotFound) return {};  // fetched before
    return std::unexpected(from.error());
  }
  for (const std::string& name : {layer_name(), std::string(store::kVmstateName)}) {
    LAMINA_RETURN_IF_ERROR(move_here(*from, jail, directory(), path(), name));
  }
  LAMINA_RETURN_IF_ERROR(os::sync(directory(), path()));
  const Status removed = store::remove_jail_directory(journal_.jail_directory);
  if (!removed) {
    notes.push_back(fmt::format("what else is in '{}' stays: {}", jail, removed.error().message));
  }
  return {};
}

/// What an earlier try has left besides the VMM's files and what a user attached.
Status PendingPause::remove_partial_work() const {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(directory(), path()));
  for (const std::string& name : names) {
    const bool is_input =
        name == layer_name() || name == store::kVmstateName || name == kWrittenRunsName;
    const bool is_attached = !store::is_own_file(name) && name != kReserveName &&
                             name != kFetchedName && name != store::kVmstateName &&
                             name != store::kWorkingSetName;
    if (is_input || (is_attached && !journal_.lacks_files)) continue;
    LAMINA_RETURN_IF_ERROR(os::remove_file(directory(), name, path() + "/" + name));
  }
  return {};
}

/// An earlier try may have ended with a sync that failed, and the next one would not tell of it.
Status PendingPause::make_sure_of_data(const std::string& layer_path) const {
  LAMINA_ASSIGN_OR_RETURN(
      const os::OpenedFile memory,
      os::open_regular(directory(), layer_name(), O_RDONLY | O_NOFOLLOW, layer_path));
  if (memory.facts.size_bytes <= journal_.memory_bytes) return {};
  const auto begun =
      engine::Layer::open(directory(), layer_name(), layer_path, journal_.build_id, true);
  if (!begun && begun.error().kind != ErrorKind::kCorrupt) return std::unexpected(begun.error());
  if (!begun || begun->trailer()->memory_bytes != journal_.memory_bytes) return {};
  if (os::sync(memory.fd.get(), layer_path) &&
      engine::is_on_disk(*begun, directory(), layer_name())) {
    return {};
  }
  LAMINA_RETURN_IF_ERROR(os::remove_file(directory(), kFetchedName, layer_path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd copy, os::open_at(directory(), kFetchedName,
                                                         O_RDWR | O_CREAT | O_EXCL, layer_path));
  LAMINA_RETURN_IF_ERROR(engine::rewrite_memory_file(*begun, copy.get(), layer_path));
  LAMINA_RETURN_IF_ERROR(os::sync(copy.get(), layer_path));
  LAMINA_RETURN_IF_ERROR(
      os::rename_over(directory(), kFetchedName, directory(), layer_name(), layer_path));
  return os::sync(directory(), path());
}

/// The facts are written last, when all else is on the disk. An earlier try may have been killed
/// before it synced them, or that sync may have failed, and the next one would not tell of it: so
/// they are written anew.
Status PendingPause::write_facts_anew() const {
  const std::string facts_path = path() + "/" + store::kFactsName;
  LAMINA_ASSIGN_OR_RETURN(const auto bytes, os::read_if_exists(directory(), store::kFactsName,
                                                               store::kMaxFactsBytes, facts_path));
  if (!bytes) return system_failure("open", facts_path, ENOENT);
  return os::replace_file(directory(), store::kNewFactsName, store::kFactsName, *bytes, path());
}

Status PendingPause::remove_written_runs() const {
  return os::remove_file(directory(), kWrittenRunsName, path() + "/" + kWrittenRunsName);
}

Result<CompletedPause> PendingPause::complete(const store::OpenSnapshot* base,
                                              std::vector<std::string>& notes) {
  if (!staging_) return CompletedPause{};
  LAMINA_RETURN_IF_ERROR(fetch_from_jail(notes));
  if (os::name_exists(directory(), store::kFactsName)) {
    const auto whole = store::open_snapshot(path());
    if (whole && whole->pause_id == journal_.pause_id) {
      LAMINA_RETURN_IF_ERROR(write_facts_anew());
      LAMINA_RETURN_IF_ERROR(remove_written_runs());
      LAMINA_RETURN_IF_ERROR(os::sync(directory(), path()));
      return CompletedPause{};
    }
  }
  LAMINA_RETURN_IF_ERROR(remove_partial_work());

  // What is hashed must be what stays; and it is nobody else's business, whatever the VMM's umask.
  const bool is_foreign = !journal_.jail_directory.path.empty();
  for (const std::string& name : {std::string(store::kVmstateName), layer_name()}) {
    LAMINA_RETURN_IF_ERROR(make_ours_alone(directory(), path(), name, is_foreign));
  }

  const std::string layer_path = path() + "/" + layer_name();
  LAMINA_RETURN_IF_ERROR(make_sure_of_data(layer_path));
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile memory, os::open_regular(directory(), layer_name(),
                                                                  O_RDWR | O_NOFOLLOW, layer_path));
  if (memory.facts.size_bytes < journal_.memory_bytes) {
    return fail(ErrorKind::kCorrupt, "'{}' has {} bytes, but {} were acknowledged", layer_path,
                memory.facts.size_bytes, journal_.memory_bytes);
  }
  // A trailer of an earlier try.
  LAMINA_RETURN_IF_ERROR(os::truncate(memory.fd.get(), journal_.memory_bytes, layer_path));
  LAMINA_ASSIGN_OR_RETURN(memory.facts, os::facts_of(memory.fd.get(), layer_path));
  if (base != nullptr && base->header.memory_bytes != journal_.memory_bytes) {
    return fail(ErrorKind::kCorrupt, "'{}' has {} bytes, but the memory of its base '{}' has {}",
                layer_path, journal_.memory_bytes, base->path, base->header.memory_bytes);
  }
  const bool is_diff = journal_.kind == MemoryFileKind::kDiff;
  if (is_diff && (base == nullptr || base->pause_id != journal_.parent_pause_id)) {
    return fail(ErrorKind::kFailed, "the base of the diff '{}', pause {}, is not at hand",
                layer_path, journal_.parent_pause_id.value_or(Uuid{}).to_string());
  }

  store::BuildInput input;
  input.memory_file = memory.fd.get();
  input.memory_path = layer_path;
  input.memory_facts = memory.facts;
  input.kind = journal_.kind;
  input.layout = Layout::kAdopted;
  input.zeros = Zeros::kWritten;
  std::optional<std::vector<ByteRange>> written;
  if (is_diff) written = read_written_runs(directory(), path(), journal_.memory_bytes);
  input.written = written ? &*written : nullptr;
  input.compare_with_parent = is_diff && journal_.compare;
  input.parent = is_diff ? base : nullptr;
  input.parent_pause_id = journal_.parent_pause_id;
  input.parent_name = journal_.parent;
  input.build_id = journal_.build_id;
  input.pause_id = journal_.pause_id;
  input.created = journal_.created;
  input.origin = journal_.origin;
  store::SnapshotBuild build(input);
  LAMINA_ASSIGN_OR_RETURN(const format::FileDigest vmstate,
                          store::digest_vmstate(directory(), path()));
  LAMINA_RETURN_IF_ERROR(build.run({directory(), path(), memory.fd.get(), layer_path}, vmstate));
  notes.insert(notes.end(), build.notes().begin(), build.notes().end());
  LAMINA_RETURN_IF_ERROR(remove_written_runs());
  LAMINA_RETURN_IF_ERROR(os::sync(directory(), path()));
  return CompletedPause{build.scanned().stored_blocks, build.scanned().zero_blocks,
                        build.scanned().unchanged_blocks,
                        store::SpareStorage(std::move(memory.fd), build.spare_runs())};
}

bool PendingPause::may_replace(const store::OpenSnapshot& existing) const {
  return journal_.replace || existing.pause_id == journal_.parent_pause_id;
}

std::string PendingPause::other_name() const {
  // A name has its limit, and the UUID needs room.
  constexpr std::size_t kMaxStem = 160;
  return fmt::format("{}@{}", journal_.name.substr(0, kMaxStem), journal_.pause_id.to_string());
}

std::string PendingPause::published_name() const {
  for (const std::string& name : {journal_.name, other_name()}) {
    const auto there = store::open_snapshot(store_->path() + "/" + name, engine::Checksums::kSkip);
    if (there && there->pause_id == journal_.pause_id) return name;
  }
  return {};
}

Result<bool> PendingPause::publish_as(const std::string& name, std::string& obstacle,
                                      std::vector<std::string>& notes) {
  const std::string path = store_->path() + "/" + name;
  if (os::is_symbolic_link(store_->fd(), name)) {
    obstacle = fmt::format("'{}' is a symbolic link", path);
    return false;
  }
  LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store_->wait_for_lock(name));
  if (!os::name_exists(store_->fd(), name)) {
    LAMINA_RETURN_IF_ERROR(staging_->publish_new(name));
    return true;
  }
  const auto existing = store::open_snapshot(path, engine::Checksums::kSkip);
  if (!existing) {
    const ErrorKind kind = existing.error().kind;
    // What cannot be opened just now may be what this one is to replace.
    if (kind != ErrorKind::kCorrupt && kind != ErrorKind::kNotFound) {
      return std::unexpected(existing.error());
    }
    obstacle = fmt::format("'{}' is no readable snapshot", path);
    return false;
  }
  if (!may_replace(*existing)) {
    obstacle = fmt::format("'{}' is a snapshot that this VM does not descend from by now", path);
    return false;
  }
  const Status replaced = staging_->publish_replacing(name, existing->directory_facts, notes);
  if (!replaced && replaced.error().error_number == EXDEV && !staging_->is_published()) {
    obstacle = replaced.error().message;
    return false;
  }
  LAMINA_RETURN_IF_ERROR(replaced);
  left_replaced_ = staging_->left_replaced();
  return true;
}

Result<std::string> PendingPause::publish(std::vector<std::string>& notes) {
  if (!staging_) {
    std::string name = published_name();
    return name.empty() ? journal_.name : name;  // replaced by a newer one since
  }
  std::string obstacle = "the hook or the attached files that belong to it did not end well";
  if (!journal_.lacks_files) {
    LAMINA_ASSIGN_OR_RETURN(const bool published, publish_as(journal_.name, obstacle, notes));
    if (published) {
      staging_.reset();
      return journal_.name;
    }
  }
  const std::string other = other_name();
  notes.push_back(fmt::format("published as '{}': {}", other, obstacle));
  LAMINA_ASSIGN_OR_RETURN(const bool published, publish_as(other, obstacle, notes));
  if (!published) return fail(ErrorKind::kFailed, "{}", obstacle);
  staging_.reset();
  return other;
}

Status PendingPause::end() {
  // Then the journal stays for as long as what it replaced.
  if (left_replaced_) LAMINA_RETURN_IF_ERROR(remove_replaced());
  const std::string fresh = journal_.pause_id.to_string() + std::string(store::kNewJournalSuffix);
  for (const std::string& name : {fresh, store::journal_name(journal_.pause_id.to_string())}) {
    LAMINA_RETURN_IF_ERROR(
        os::remove_file(store_->pending_area(), name, store::pending_path(*store_, name)));
  }
  return sync_pending_area(*store_);
}

Status adopt_pause(const store::Store& store, const Uuid& id) {
  LAMINA_ASSIGN_OR_RETURN(std::optional<store::PauseJournal> journal,
                          store::read_pause_journal(store, id));
  if (!journal || store::why_foreign(journal->belongs_to, store.identity()).empty()) return {};
  LAMINA_ASSIGN_OR_RETURN(std::optional<store::Staging> staging,
                          store::Staging::open_existing(store, id));
  const std::string name = id.to_string();
  if (!staging && os::name_exists(store.pending_area(), name)) {
    return fail(ErrorKind::kBusy, "another process is at work on pause {}; try again", name);
  }
  if (journal->acknowledged && staging) {
    for (const std::string& file :
         {store::layer_file_name(journal->build_id), std::string(store::kVmstateName)}) {
      if (os::name_exists(staging->fd(), file)) continue;
      return fail(ErrorKind::kFailed,
                  "pause {} cannot be made this store's: '{}' is not in '{}'{}; its own store has "
                  "to complete it",
                  name, file, staging->path(),
                  journal->jail_directory.path.empty()
                      ? ""
                      : fmt::format(", but in the VM's jail ('{}')", journal->jail_directory.path));
    }
  }
  journal->api_socket.clear();
  journal->jail_directory = {};
  journal->was_running = false;
  journal->belongs_to = store.identity();
  const std::string text = store::encode_pause_journal(*journal);
  LAMINA_RETURN_IF_ERROR(os::replace_file(
      store.pending_area(), name + std::string(store::kNewJournalSuffix), store::journal_name(name),
      std::as_bytes(std::span(text)), store::pending_path(store, ".")));
  return sync_pending_area(store);
}

Status remove_unreadable_pause(const store::Store& store, const Uuid& id) {
  std::vector<std::string> notes;
  LAMINA_RETURN_IF_ERROR(store::remove_pending(store, id.to_string(), notes));
  const std::string path = store::pending_path(store, store::journal_name(id.to_string()));
  LAMINA_RETURN_IF_ERROR(
      os::remove_tree(store.pending_area(), store::journal_name(id.to_string()), path));
  return sync_pending_area(store);
}

Result<PendingPauses> pending_pauses(const store::Store& store) {
  LAMINA_ASSIGN_OR_RETURN(
      const std::vector<std::string> names,
      os::list_directory(store.pending_area(), store::pending_path(store, ".")));
  PendingPauses pending;
  for (const std::string& name : names) {
    if (!name.ends_with(store::kJournalSuffix)) continue;
    const auto id = Uuid::parse(name.substr(0, name.size() - store::kJournalSuffix.size()));
    if (!id) continue;
    auto journal = store::read_pause_journal(store, *id);
    if (!journal) pending.unreadable.push_back(journal.error().message);
    if (!journal || !*journal) continue;
    const bool is_ours = store::why_foreign((*journal)->belongs_to, store.identity()).empty();
    (is_ours ? pending.journals : pending.foreign).push_back(std::move(**journal));
  }
  // What began in one second is in the order of the names.
  for (std::vector<store::PauseJournal>* journals : {&pending.journals, &pending.foreign}) {
    std::sort(journals->begin(), journals->end(),
              [](const store::PauseJournal& a, const store::PauseJournal& b) {
                return std::tie(a.created, a.pause_id) < std::tie(b.created, b.pause_id);
              });
  }
  return pending;
}

}  // namespace lamina::lifecycle
