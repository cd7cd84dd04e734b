#include "lifecycle/pending_pause.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "engine/layer.h"
#include "engine/lost_writes.h"
#include "lifecycle/vmm_files.h"
#include "lifecycle/written_runs.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/range_copy.h"
#include "os/sparse_file.h"
#include "store/name.h"
#include "store/pending_area.h"
#include "store/snapshot_link.h"

namespace lamina::lifecycle {
namespace {

constexpr const char* kReserveName = ".reserve";

/// Upper bounds for the size of trailer and header: for each block of memory its checksum and, if
/// every other block is changed, half an extent in each of the two; and for each extent of the base
/// its size in the header.
constexpr std::uint64_t kReservedPerBlock = 24;
constexpr std::uint64_t kReservedPerExtent = 16;
constexpr std::uint64_t kReservedAlways = std::uint64_t{1} << 20;

Status check_own(const store::Store& store, const store::PauseJournal& journal) {
  const std::string why = store::why_foreign(journal.belongs_to, store.identity());
  if (why.empty()) return {};
  return with_remedy(
      fail(ErrorKind::kFailed, "pause {} is not acted upon: {}", journal.pause_id.to_string(), why),
      "to make it this store's, run: lamina recover {} --adopt-store", store.path());
}

}  // namespace

Result<PendingPause> PendingPause::begin(const store::Store& store,
                                         const store::PauseJournal& journal,
                                         std::uint64_t memory_bytes, std::uint64_t base_extents,
                                         os::LockedFd freeze) {
  PendingPause pause(store, journal);
  pause.freeze_ = std::move(freeze);
  auto staging = store::Staging::create(store, store::Area::kPending, journal.pause_id);
  if (!staging) {
    static_cast<void>(store::remove_freeze_directory(journal.freeze_directory));
    return std::unexpected(std::move(staging.error()));
  }
  pause.staging_.emplace(std::move(*staging));
  const Status prepared = [&]() -> Status {
    // The journal first: a directory with files in it belongs to a journal.
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
  // Read again under the lock: its former holder may have changed it, or ended the pause.
  LAMINA_ASSIGN_OR_RETURN(journal, store::read_pause_journal(store, pause_id));
  if (!journal) return std::nullopt;
  LAMINA_RETURN_IF_ERROR(check_own(store, *journal));
  PendingPause pause(store, std::move(*journal));
  LAMINA_RETURN_IF_ERROR(pause.find_freeze_directory());
  if (!staging) {
    // The process that renamed the directory may have been killed before it synced the rename,
    // which must be on the disk before the journal is removed.
    LAMINA_RETURN_IF_ERROR(os::sync(store.fd(), store.path()));
    LAMINA_RETURN_IF_ERROR(store::sync_pending_area(store));
    return std::optional(std::move(pause));
  }
  pause.staging_.emplace(std::move(*staging));
  LAMINA_ASSIGN_OR_RETURN(const bool replaced, pause.is_what_it_replaced());
  if (replaced) LAMINA_RETURN_IF_ERROR(pause.remove_replaced());
  return std::optional(std::move(pause));
}

Status PendingPause::find_freeze_directory() {
  if (!is_in_memory()) return {};
  const std::string& freeze_path = journal_.freeze_directory.path;
  LAMINA_ASSIGN_OR_RETURN(store::FoundFreezeDirectory found,
                          store::find_freeze_directory(journal_.freeze_directory));
  is_unseen_ = found.presence == store::FreezePresence::kUnseen;
  if (found.presence != store::FreezePresence::kThere) return {};
  freeze_ = os::LockedFd(std::move(found.directory));
  LAMINA_ASSIGN_OR_RETURN(answer_,
                          store::read_freeze_answer(freeze_.get(), freeze_path, journal_.pause_id));
  if (answer_ && !journal_.acknowledged) journal_.memory_bytes = answer_->memory_bytes;
  return {};
}

/// The directory under the pending name may be the one that this pause has replaced: a complete
/// snapshot of another pause.
Result<bool> PendingPause::is_what_it_replaced() const {
  const auto has = [&](const std::string& name) -> Result<bool> {
    const auto found = os::facts_of_name(directory(), name, path() + "/" + name);
    if (!found && found.error().kind != ErrorKind::kNotFound) {
      return std::unexpected(found.error());
    }
    return found.has_value();
  };
  // This pause's header is not written before its memory file is here.
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

/// Frees a part of the reserve for the journal: the VMM may have filled the disk.
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
  LAMINA_RETURN_IF_ERROR(store::replace_journal(*store_, journal.pause_id.to_string(),
                                                store::encode_pause_journal(journal)));
  journal_ = std::move(journal);
  return {};
}

Status PendingPause::write_journal(const store::PauseJournal& journal) {
  const store::PauseJournal before = journal_;
  const Status written = [&]() -> Status {
    LAMINA_RETURN_IF_ERROR(replace_journal(journal));
    return store::sync_pending_area(*store_);
  }();
  if (!written) journal_ = before;
  return written;
}

Status PendingPause::note_jail_directory(std::uint64_t inode) {
  store::PauseJournal journal = journal_;
  journal.jail_directory.inode = inode;
  // The value in memory is right even if the journal cannot be written.
  journal_.jail_directory.inode = inode;
  return replace_journal(journal);
}

Status PendingPause::acknowledge(std::uint64_t memory_bytes) {
  store::PauseJournal journal = journal_;
  journal.acknowledged = true;
  journal.memory_bytes = memory_bytes;
  return write_journal(journal);
}

Status PendingPause::note_answer(const os::FileFacts& memory_file) {
  const store::FreezeAnswer answer{journal_.pause_id, memory_file.size_bytes, memory_file.inode,
                                   memory_file.allocated_bytes, memory_file.modified_ns};
  LAMINA_RETURN_IF_ERROR(
      store::write_freeze_answer(answer, freeze_.get(), journal_.freeze_directory.path));
  answer_ = answer;
  journal_.memory_bytes = answer.memory_bytes;
  return {};
}

Status PendingPause::record_written(int memory_file, std::uint64_t memory_bytes) const {
  shrink_reserve();
  LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> written,
                          os::written_ranges(memory_file, memory_bytes, layer_name()));
  return write_written_runs(written, directory(), path());
}

Status PendingPause::remove_files() {
  // The jail may be gone, or this user may not be allowed to remove it.
  static_cast<void>(store::remove_jail_directory(journal_.jail_directory));
  LAMINA_RETURN_IF_ERROR(store::remove_freeze_directory(journal_.freeze_directory));
  answer_.reset();
  std::vector<std::string> notes;  // the next opening of the store has its own
  LAMINA_RETURN_IF_ERROR(store::remove_pending(*store_, journal_.pause_id.to_string(), notes));
  staging_.reset();
  return {};
}

/// Whether an earlier attempt has made all of the snapshot. Fails if that cannot be read now.
Result<bool> PendingPause::is_complete() const {
  if (!os::name_exists(directory(), store::kFactsName)) return false;
  const auto whole = store::open_snapshot(path());
  if (whole) return whole->pause_id == journal_.pause_id;
  const ErrorKind kind = whole.error().kind;
  if (kind == ErrorKind::kCorrupt || kind == ErrorKind::kNotFound) return false;
  return std::unexpected(whole.error());
}

/// Whether the files that the VMM has written are in the freeze directory, as they were then.
bool PendingPause::has_memory_files() const {
  if (!freeze_.valid() || !answer_) return false;
  const auto memory = os::facts_of_name(freeze_.get(), layer_name(), layer_name());
  return memory && answer_->describes(*memory) &&
         os::name_exists(freeze_.get(), store::kVmstateName);
}

Result<bool> PendingPause::has_lost_files() const {
  if (!staging_) return false;
  if (is_in_memory()) {
    if (has_memory_files()) return false;
    LAMINA_ASSIGN_OR_RETURN(const bool complete, is_complete());
    return !complete;
  }
  std::optional<store::OpenJailDirectory> jail;
  if (!journal_.jail_directory.path.empty()) {
    auto opened = store::open_jail_directory(journal_.jail_directory);
    // Another directory is in its place: the files are not known to be lost, it may be put back.
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
    LAMINA_RETURN_IF_ERROR(move_from_jail(*from, jail, directory(), path(), name));
  }
  LAMINA_RETURN_IF_ERROR(os::sync(directory(), path()));
  const Status removed = store::remove_jail_directory(journal_.jail_directory);
  if (!removed) {
    notes.push_back(fmt::format("what else is in '{}' stays: {}", jail, one_line(removed.error())));
  }
  return {};
}

/// Removes what an earlier attempt has left, but not the VMM's files and attached ones.
Status PendingPause::remove_partial_work() const {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(directory(), path()));
  for (const std::string& name : names) {
    const bool is_input =
        name == layer_name() || name == store::kVmstateName || name == kWrittenRunsName;
    const bool is_attached = !store::is_own_file(name) && name != kReserveName &&
                             name != kUnfinishedCopyName && name != store::kVmstateName &&
                             name != store::kWorkingSetName;
    if (is_input || (is_attached && !journal_.lacks_files)) continue;
    LAMINA_RETURN_IF_ERROR(os::remove_file(directory(), name, path() + "/" + name));
  }
  return {};
}

/// An earlier attempt may have ended with a sync that failed, and the next sync would not report
/// that again.
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
  LAMINA_RETURN_IF_ERROR(os::remove_file(directory(), kUnfinishedCopyName, layer_path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd copy, os::open_at(directory(), kUnfinishedCopyName,
                                                         O_RDWR | O_CREAT | O_EXCL, layer_path));
  LAMINA_RETURN_IF_ERROR(engine::rewrite_memory_file(*begun, copy.get(), layer_path));
  LAMINA_RETURN_IF_ERROR(os::sync(copy.get(), layer_path));
  LAMINA_RETURN_IF_ERROR(
      os::rename_over(directory(), kUnfinishedCopyName, directory(), layer_name(), layer_path));
  return os::sync(directory(), path());
}

/// The facts are written last, when everything else is on the disk. An earlier attempt may have
/// been killed before it synced them, or that sync may have failed, which the next sync would not
/// report: so they are written again.
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
  LAMINA_ASSIGN_OR_RETURN(CompletedPause completed, build(base, notes));
  // build() ends with a sync of the directory, in which nothing is made or removed after that. (The
  // links of the pin's new base may replace a layer by a synced copy of itself; either will do.)
  staging_->note_synced();
  // From here on it must not be discarded, even if the freeze directory ends with the boot.
  if (!journal_.acknowledged) LAMINA_RETURN_IF_ERROR(acknowledge(journal_.memory_bytes));
  return completed;
}

Result<CompletedPause> PendingPause::build(const store::OpenSnapshot* base,
                                           std::vector<std::string>& notes) {
  LAMINA_RETURN_IF_ERROR(fetch_from_jail(notes));
  const auto complete = is_complete();
  // What cannot be made again must not be removed.
  if (!complete && is_in_memory() && !has_memory_files()) {
    return std::unexpected(complete.error());
  }
  if (complete && *complete) {
    LAMINA_RETURN_IF_ERROR(write_facts_anew());
    LAMINA_RETURN_IF_ERROR(remove_written_runs());
    LAMINA_RETURN_IF_ERROR(os::sync(directory(), path()));
    return CompletedPause{};
  }
  if (is_in_memory() && !has_memory_files()) {
    return fail(ErrorKind::kFailed,
                "the memory file of pause {} in '{}' is gone, or has changed since Firecracker "
                "wrote it",
                journal_.pause_id.to_string(), journal_.freeze_directory.path);
  }
  LAMINA_RETURN_IF_ERROR(remove_partial_work());
  return is_in_memory() ? build_from_memory(base, notes) : build_in_place(base, notes);
}

Status PendingPause::check_base(const store::OpenSnapshot* base,
                                const std::string& memory_path) const {
  if (base != nullptr && base->header.memory_bytes != journal_.memory_bytes) {
    return fail(ErrorKind::kCorrupt, "'{}' has {} bytes, but the memory of its base '{}' has {}",
                memory_path, journal_.memory_bytes, base->path, base->header.memory_bytes);
  }
  const bool is_diff = journal_.kind == MemoryFileKind::kDiff;
  if (is_diff && (base == nullptr || base->pause_id != journal_.parent_pause_id)) {
    return fail(ErrorKind::kFailed, "the base of the diff '{}', pause {}, is not at hand",
                memory_path, journal_.parent_pause_id.value_or(Uuid{}).to_string());
  }
  return {};
}

void PendingPause::record_phases(const PausePhases& phases) {
  phases_ = RecordedPhases{.prepare_ms = phases.prepare_ms,
                           .pause_ms = phases.pause_ms,
                           .create_ms = phases.create_ms,
                           .journal_ms = phases.journal_ms,
                           .hook_ms = phases.hook_ms,
                           .resume_ms = phases.resume_ms,
                           .frozen_ms = phases.frozen_ms};
}

/// Without the memory file.
store::BuildInput PendingPause::build_input(const store::OpenSnapshot* base) const {
  const bool is_diff = journal_.kind == MemoryFileKind::kDiff;
  store::BuildInput input;
  input.kind = journal_.kind;
  input.zeros = Zeros::kWritten;
  input.compare_with_parent = is_diff && journal_.compare;
  input.parent = is_diff ? base : nullptr;
  input.parent_pause_id = journal_.parent_pause_id;
  input.ancestors = journal_.ancestors;
  input.parent_name = journal_.parent;
  input.build_id = journal_.build_id;
  input.pause_id = journal_.pause_id;
  input.created = journal_.created;
  input.origin = journal_.origin;
  input.once = journal_.once;
  if (!journal_.reason.empty()) {
    input.pause = PauseRecord{.is_diff = is_diff, .reason = journal_.reason, .phases = phases_};
  }
  input.when_readable = when_readable_;
  return input;
}

Result<CompletedPause> PendingPause::build_in_place(const store::OpenSnapshot* base,
                                                    std::vector<std::string>& notes) {
  // What is hashed must not change any more; and other users must not read it, whatever the VMM's
  // umask.
  const bool is_foreign = !journal_.jail_directory.path.empty();
  for (const std::string& name : {std::string(store::kVmstateName), layer_name()}) {
    LAMINA_RETURN_IF_ERROR(make_private(directory(), path(), name, is_foreign));
  }

  const std::string layer_path = path() + "/" + layer_name();
  LAMINA_RETURN_IF_ERROR(make_sure_of_data(layer_path));
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile memory, os::open_regular(directory(), layer_name(),
                                                                  O_RDWR | O_NOFOLLOW, layer_path));
  if (memory.facts.size_bytes < journal_.memory_bytes) {
    return fail(ErrorKind::kCorrupt, "'{}' has {} bytes, but {} were acknowledged", layer_path,
                memory.facts.size_bytes, journal_.memory_bytes);
  }
  // Cut off the trailer of an earlier attempt.
  LAMINA_RETURN_IF_ERROR(os::truncate(memory.fd.get(), journal_.memory_bytes, layer_path));
  LAMINA_ASSIGN_OR_RETURN(memory.facts, os::facts_of(memory.fd.get(), layer_path));
  LAMINA_RETURN_IF_ERROR(check_base(base, layer_path));

  store::BuildInput input = build_input(base);
  input.memory_file = memory.fd.get();
  input.memory_path = layer_path;
  input.memory_facts = memory.facts;
  input.layout = Layout::kAdopted;
  std::optional<std::vector<ByteRange>> written;
  if (journal_.kind == MemoryFileKind::kDiff) {
    written = read_written_runs(directory(), path(), journal_.memory_bytes);
  }
  input.written = written ? &*written : nullptr;
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

/// A memory file on tmpfs is read once, and what was hashed is written into a new layer. So no
/// other process can exchange it in between, and the file stays as it is until the pause ends.
Result<CompletedPause> PendingPause::build_from_memory(const store::OpenSnapshot* base,
                                                       std::vector<std::string>& notes) {
  const std::string& freeze_path = journal_.freeze_directory.path;
  const std::string memory_path = freeze_path + "/" + layer_name();
  LAMINA_ASSIGN_OR_RETURN(
      const os::OpenedFile memory,
      os::open_regular(freeze_.get(), layer_name(), O_RDONLY | O_NOFOLLOW, memory_path));
  LAMINA_RETURN_IF_ERROR(check_base(base, memory_path));
  // A hole that was read through a mapping looks written. It has storage then, and more than there
  // was at the answer.
  LAMINA_ASSIGN_OR_RETURN(
      const std::vector<ByteRange> written,
      os::written_ranges(memory.fd.get(), memory.facts.size_bytes, memory_path));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(memory.fd.get(), memory_path));
  if (!answer_->describes(facts)) {
    return fail(ErrorKind::kCorrupt,
                "'{}' has changed since Firecracker wrote it: {} bytes of storage, {} then",
                memory_path, facts.allocated_bytes, answer_->allocated_bytes);
  }

  const std::string state_path = path() + "/" + store::kVmstateName;
  LAMINA_ASSIGN_OR_RETURN(
      const os::OpenedFile state,
      os::open_regular(freeze_.get(), store::kVmstateName, O_RDONLY | O_NOFOLLOW,
                       freeze_path + "/" + store::kVmstateName));
  LAMINA_RETURN_IF_ERROR(os::remove_file(directory(), store::kVmstateName, state_path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd copy,
                          os::copy_to_new_file(state.fd.get(), state.facts.size_bytes,
                                               freeze_path + "/" + store::kVmstateName, directory(),
                                               store::kVmstateName, state_path));
  const auto sync_copy = [&] { return os::sync(copy.get(), state_path); };
  if (!when_readable_) LAMINA_RETURN_IF_ERROR(sync_copy());

  // The header of an earlier attempt is gone by now; a header without a layer would mean another
  // pause's directory (is_what_it_replaced()).
  const std::string layer_path = path() + "/" + layer_name();
  LAMINA_RETURN_IF_ERROR(os::remove_file(directory(), layer_name(), layer_path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd layer, os::open_at(directory(), layer_name(),
                                                          O_RDWR | O_CREAT | O_EXCL, layer_path));
  store::BuildInput input = build_input(base);
  input.memory_file = memory.fd.get();
  input.memory_path = memory_path;
  input.memory_facts = facts;
  input.layout = Layout::kCompact;
  input.written = &written;
  if (when_readable_) {
    input.when_readable = [&]() -> Status {
      LAMINA_RETURN_IF_ERROR(when_readable_());
      return sync_copy();
    };
  }
  store::SnapshotBuild build(input);
  LAMINA_ASSIGN_OR_RETURN(const format::FileDigest vmstate,
                          store::digest_vmstate(directory(), path()));
  LAMINA_RETURN_IF_ERROR(build.run({directory(), path(), layer.get(), layer_path}, vmstate));
  notes.insert(notes.end(), build.notes().begin(), build.notes().end());
  LAMINA_RETURN_IF_ERROR(os::sync(directory(), path()));
  return CompletedPause{build.scanned().stored_blocks,
                        build.scanned().zero_blocks,
                        build.scanned().unchanged_blocks,
                        {}};
}

bool PendingPause::may_replace(const Uuid& existing) const {
  return journal_.replace || existing == journal_.parent_pause_id ||
         existing == journal_.last_pause_id;
}

std::string PendingPause::other_name() const {
  return store::name_beside(journal_.name, journal_.pause_id);
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
  const auto existing = store::identify_snapshot(path);
  if (!existing) {
    const ErrorKind kind = existing.error().kind;
    // A snapshot that cannot be opened at the moment may be the one that this pause may replace.
    if (kind != ErrorKind::kCorrupt && kind != ErrorKind::kNotFound) {
      return std::unexpected(existing.error());
    }
    obstacle = fmt::format("'{}' is no readable snapshot", path);
    return false;
  }
  if (!may_replace(existing->pause_id)) {
    obstacle = fmt::format("'{}' is a snapshot that this VM does not descend from by now", path);
    return false;
  }
  const Status replaced = staging_->publish_replacing(name, existing->directory_facts, notes);
  if (!replaced && replaced.error().error_number == EXDEV && !staging_->is_published()) {
    obstacle = one_line(replaced.error());
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
  // Before the journal, which alone says that it is here.
  LAMINA_RETURN_IF_ERROR(store::remove_freeze_directory(journal_.freeze_directory));
  const std::string fresh = journal_.pause_id.to_string() + std::string(store::kNewJournalSuffix);
  for (const std::string& name : {fresh, store::journal_name(journal_.pause_id.to_string())}) {
    LAMINA_RETURN_IF_ERROR(
        os::remove_file(store_->pending_area(), name, store::pending_path(*store_, name)));
  }
  return store::sync_pending_area(*store_);
}

}  // namespace lamina::lifecycle
