#include "store/adoption.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "engine/layer.h"
#include "engine/lost_writes.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/path_walk.h"
#include "os/read_lease.h"
#include "store/adoption_journal.h"
#include "store/pause_journal.h"
#include "store/pending_area.h"
#include "store/snapshot_directory.h"

namespace lamina::store {
namespace {

/// The mode bits that are restored: a forged journal must not create a setuid program.
constexpr std::uint32_t kPermissionBits = 0777;

/// Mode of the file while it is in the store.
constexpr std::uint32_t kOwnMode = 0600;

/// Name of an unfinished copy.
constexpr const char* kCopyName = ".copy";

/// Marks a file without a trailer whose sync has failed.
constexpr const char* kLostName = ".not-synced";

/// Why an adoption belongs to another store, of which this one is a copy; empty: it is this
/// store's. The other store may have moved its memory file back already, so this one must not act
/// on it.
Result<std::string> why_adoption_is_foreign(const Store& store, const std::string& id) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<AdoptionJournal> journal,
                          read_adoption_journal(store, id));
  return journal ? why_foreign(journal->belongs_to, store.identity()) : std::string();
}

/// Opens the directory that the file goes back to: `source_directory` if it is valid, else the
/// directory of the journal's path, if that is the one that the file came from. It must be on the
/// file's file system.
Result<os::Fd> open_source_directory(int source_directory, const AdoptionJournal& journal,
                                     const os::FileFacts& file) {
  const std::string parent = os::parent_of(journal.source);
  os::Fd directory;
  if (source_directory >= 0) {
    LAMINA_ASSIGN_OR_RETURN(directory, os::open_directory(source_directory, ".", parent));
  } else {
    LAMINA_ASSIGN_OR_RETURN(directory,
                            os::open_user_path(parent, O_RDONLY | O_DIRECTORY, 0, parent));
  }
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(directory.get(), parent));
  if (facts.inode != journal.directory_inode || facts.device != file.device) {
    return fail(ErrorKind::kFailed, "'{}' is not the directory that it was moved from", parent);
  }
  return directory;
}

/// Replaces a file whose data may not be on the disk with a checked copy. The journal has the
/// copy's identity before the copy gets the file's name.
Status replace_by_copy(const Store& store, const std::string& id, int directory,
                       const std::string& path, AdoptionJournal& journal,
                       const engine::Layer& layer) {
  LAMINA_RETURN_IF_ERROR(os::remove_file(directory, kCopyName, path));
  LAMINA_ASSIGN_OR_RETURN(
      const os::Fd copy,
      os::open_at(directory, kCopyName, O_RDWR | O_CREAT | O_EXCL, path, kOwnMode));
  LAMINA_RETURN_IF_ERROR(engine::rewrite_memory_file(layer, copy.get(), path));
  LAMINA_RETURN_IF_ERROR(os::sync(copy.get(), path));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(copy.get(), path));
  journal.copy_inode = facts.inode;
  journal.copy_born_ns = facts.born_ns;
  LAMINA_RETURN_IF_ERROR(replace_adoption_journal(store, id, journal));
  LAMINA_RETURN_IF_ERROR(
      os::rename_over(directory, kCopyName, directory, journal.layer_name, path));
  return os::sync(directory, path);
}

/// A file with a trailer may have failed to sync. True if its data is on the disk, also as a copy;
/// false if it has no trailer, and needs nothing. `may_copy` is false right after a failed sync:
/// the disk is not written further then.
Result<bool> make_sure_of_data(const Store& store, const std::string& id, int directory,
                               const std::string& path, AdoptionJournal& journal,
                               const os::OpenedFile& file, bool may_copy) {
  if (os::name_exists(directory, kLostName)) {
    return fail(ErrorKind::kCorrupt,
                "'{}' was not completely written to the disk, so part of it may be lost; have the "
                "VMM write the memory again",
                path);
  }
  if (file.facts.size_bytes <= journal.size_bytes) return false;
  const auto layer = engine::Layer::open(directory, journal.layer_name, path,
                                         *parse_layer_file_name(journal.layer_name), true);
  if (!layer && layer.error().kind != ErrorKind::kCorrupt) return std::unexpected(layer.error());
  // Without a complete trailer it was not synced yet; or the power has failed, and no write is
  // cached.
  if (!layer || layer->trailer()->memory_bytes != journal.size_bytes) return false;
  const Status synced = os::sync(file.fd.get(), path);
  if (synced && engine::is_on_disk(*layer, directory, journal.layer_name)) return true;
  if (!may_copy) {
    return fail(ErrorKind::kFailed,
                "not all of it could be written to the disk; the next command that writes to the "
                "store tries again");
  }
  LAMINA_RETURN_IF_ERROR(replace_by_copy(store, id, directory, path, journal, *layer));
  return true;
}

/// Restores length, owner and mode that the file had before the adoption. `is_on_disk`: its data is
/// known to be on the disk.
Status restore(int directory, const std::string& path, const AdoptionJournal& journal,
               bool is_on_disk) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file, os::open_regular(directory, journal.layer_name,
                                                                      O_RDWR | O_NOFOLLOW, path));
  if (file.facts.size_bytes > journal.size_bytes) {
    LAMINA_RETURN_IF_ERROR(os::truncate(file.fd.get(), journal.size_bytes, path));
  }
  if (file.facts.user != journal.user || file.facts.group != journal.group) {
    LAMINA_RETURN_IF_ERROR(os::set_owner(file.fd.get(), static_cast<std::uint32_t>(journal.user),
                                         static_cast<std::uint32_t>(journal.group), path));
  }
  if (file.facts.mode != journal.mode) {
    LAMINA_RETURN_IF_ERROR(os::set_mode(
        file.fd.get(), static_cast<std::uint32_t>(journal.mode) & kPermissionBits, path));
  }
  const Status synced = os::sync(file.fd.get(), path);
  if (synced || is_on_disk) return synced;
  // The next sync would succeed without writing the lost pages, so mark the file.
  static_cast<void>(os::open_at(directory, kLostName, O_WRONLY | O_CREAT, path));
  return synced;
}

/// Restores the file and renames it back to where it came from. False if it is not in the
/// directory: it was not moved yet, or is published.
Result<bool> put_back(const Store& store, const std::string& id, int directory,
                      const std::string& directory_path, AdoptionJournal journal,
                      int source_directory) {
  const std::string path = directory_path + "/" + journal.layer_name;
  const auto named = os::facts_of_name(directory, journal.layer_name, path);
  if (!named && named.error().kind == ErrorKind::kNotFound) return false;
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file, os::open_regular(directory, journal.layer_name,
                                                                      O_RDONLY | O_NOFOLLOW, path));
  if (!journal.is_of(file.facts)) {
    return fail(ErrorKind::kFailed,
                "'{}' is not the file that was taken from '{}' (the store is a copy, or came from "
                "elsewhere) and is left alone; move it where you want it",
                path, journal.source);
  }
  os::Fd parent;
  const Status moved = [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(parent, open_source_directory(source_directory, journal, file.facts));
    const std::string name = journal.source.substr(journal.source.rfind('/') + 1);
    if (os::name_exists(parent.get(), name)) {
      return system_failure("rename to", journal.source, EEXIST);
    }
    LAMINA_ASSIGN_OR_RETURN(
        const bool is_on_disk,
        make_sure_of_data(store, id, directory, path, journal, file, source_directory < 0));
    LAMINA_RETURN_IF_ERROR(restore(directory, path, journal, is_on_disk));
    return os::rename_new(directory, journal.layer_name, parent.get(), name, journal.source);
  }();
  if (!moved) {
    return fail(
        moved.error().kind,
        "the memory file is now '{}' and could not be put back ({}); move it where you want it "
        "and ingest it again",
        path, one_line(moved.error()));
  }
  LAMINA_RETURN_IF_ERROR(os::sync(parent.get(), os::parent_of(journal.source)));
  LAMINA_RETURN_IF_ERROR(os::sync(directory, directory_path));
  return true;
}

bool has_journal(const Store& store, const std::string& id) {
  return os::name_exists(store.pending_area(), journal_name(id));
}

/// Durably.
Status remove_journal(const Store& store, const std::string& id) {
  LAMINA_RETURN_IF_ERROR(os::remove_file(store.pending_area(), journal_name(id),
                                         pending_path(store, journal_name(id))));
  return sync_pending_area(store);
}

/// The staging directory of an adoption; absent only if it does not exist. Any other failure must
/// stop the caller: the directory may hold the only copy of a memory file.
Result<std::optional<os::Fd>> open_staging(const Store& store, const std::string& id) {
  auto directory = os::open_directory(store.pending_area(), id, pending_path(store, id));
  if (directory) return std::optional(std::move(*directory));
  if (directory.error().kind == ErrorKind::kNotFound &&
      !os::name_exists(store.pending_area(), id)) {
    return std::nullopt;
  }
  return std::unexpected(directory.error());
}

/// Undoes adoption `id`. `directory` is its staging directory, and the caller holds its lock.
/// `source_directory` is the directory that the file came from, or -1. Returns the path that the
/// memory file was moved back to; absent if it had not been moved.
Result<std::optional<std::string>> undo_adoption(const Store& store, const std::string& id,
                                                 int directory, int source_directory = -1) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<AdoptionJournal> journal,
                          read_adoption_journal(store, id));
  const std::string path = pending_path(store, id);
  if (!journal) {
    // No memory file was moved in yet, and the directory is empty. If it is not, a file in it may
    // be an only copy.
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            os::list_directory(directory, path));
    if (!names.empty()) {
      return fail(ErrorKind::kFailed, "'{}' has files but no journal '{}'; find out what they are",
                  path, journal_name(id));
    }
    // From here on its maker, which may wait for the lock, makes the directory again, with a
    // journal that must stay. One that cannot be read was there before.
    const bool had_journal = has_journal(store, id);
    LAMINA_RETURN_IF_ERROR(os::remove_directory(store.pending_area(), id, path));
    if (had_journal) LAMINA_RETURN_IF_ERROR(remove_journal(store, id));
    return std::nullopt;
  }
  std::optional<std::string> restored;
  LAMINA_ASSIGN_OR_RETURN(const bool moved,
                          put_back(store, id, directory, path, *journal, source_directory));
  if (moved) restored = journal->source;
  // The memory file is not in the directory. Its other files can be made again, or it is the
  // directory of a replaced snapshot. Remove the journal last: without it the directory would stay
  // for ever.
  std::vector<std::string> notes;  // dropped: the next open_store() notes the same
  LAMINA_RETURN_IF_ERROR(remove_pending(store, id, notes));
  LAMINA_RETURN_IF_ERROR(remove_journal(store, id));
  return restored;
}

/// Ends adoption `id` if its process has ended. (Or a pause without a journal yet: this may be
/// called for any entry of the area.)
///
/// Others make and remove entries meanwhile. A directory is removed by nobody but the holder of its
/// lock, and its maker makes it again if it was removed before the maker had the lock. A journal is
/// written under that lock, once for each id. So what is gone can only be removed for good if a
/// journal was there before.
Result<std::optional<std::string>> end_if_unfinished(const Store& store, const std::string& id) {
  const bool had_journal = has_journal(store, id);
  LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> directory, open_staging(store, id));
  if (!directory) {
    if (!had_journal) return std::nullopt;
    LAMINA_ASSIGN_OR_RETURN(const auto pause, read_pause_journal(store, *Uuid::parse(id)));
    if (pause) return std::nullopt;  // recover() ends it
    // Published, or undone. The rename must be on the disk before the journal is removed.
    LAMINA_RETURN_IF_ERROR(os::sync(store.fd(), store.path()));
    LAMINA_RETURN_IF_ERROR(sync_pending_area(store));
    LAMINA_RETURN_IF_ERROR(remove_journal(store, id));
    return std::nullopt;
  }
  LAMINA_ASSIGN_OR_RETURN(const bool unused,
                          os::try_lock(directory->get(), pending_path(store, id)));
  if (!unused) return std::nullopt;
  // It may have been published between the two calls: then the name is free or names another
  // directory.
  LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> again, open_staging(store, id));
  if (!again) return std::nullopt;
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts locked, os::facts_of(directory->get(), id));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts named, os::facts_of(again->get(), id));
  if (!locked.same_file(named)) return std::nullopt;
  // The process of a pause may have written its journal and ended since the caller looked.
  LAMINA_ASSIGN_OR_RETURN(const auto pause, read_pause_journal(store, *Uuid::parse(id)));
  if (pause) return std::nullopt;  // recover() ends it
  return undo_adoption(store, id, directory->get());
}

/// Removes a new version of a pause's journal if the pause is gone. (In sorted order it comes after
/// the pause's directory and journal.)
void remove_if_orphaned(const Store& store, const std::string& name) {
  const std::string id = name.substr(0, name.size() - kNewJournalSuffix.size());
  const int area = store.pending_area();
  if (os::name_exists(area, id) || os::name_exists(area, journal_name(id))) return;
  static_cast<void>(os::remove_file(area, name, pending_path(store, name)));
}

}  // namespace

Result<Adoption> Adoption::take_over(const Store& store, const Staging& staging, const Uuid& id,
                                     const AdoptedFile& source, const std::string& layer_name) {
  Adoption adoption(store, id.to_string());
  LAMINA_ASSIGN_OR_RETURN(adoption.source_directory_,
                          os::open_directory(source.directory, ".", os::parent_of(source.path)));
  const Status taken = adoption.take(staging, source, layer_name);
  if (taken) return adoption;
  if (adoption.store_ == nullptr) return std::unexpected(taken.error());
  const Status undone = adoption.undo();
  if (undone) return std::unexpected(taken.error());
  return fail(taken.error().kind, "{}; {}", one_line(taken.error()), one_line(undone.error()));
}

Status Adoption::take(const Staging& staging, const AdoptedFile& source,
                      const std::string& layer_name) {
  const int from = source_directory_.get();
  const std::string parent = os::parent_of(source.path);
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts directory, os::facts_of(from, parent));
  AdoptionJournal journal;
  journal.belongs_to = store_->identity();
  journal.source = source.path;
  journal.layer_name = layer_name;
  journal.size_bytes = source.facts.size_bytes;
  journal.mode = source.facts.mode;
  journal.user = source.facts.user;
  journal.group = source.facts.group;
  journal.inode = source.facts.inode;
  journal.born_ns = source.facts.born_ns;
  journal.directory_inode = directory.inode;
  // The names of the journal and the staging directory must be on the disk before the file is
  // moved.
  LAMINA_RETURN_IF_ERROR(write_adoption_journal(*store_, id_, journal));
  const std::string path = staging.file_path(layer_name);
  LAMINA_RETURN_IF_ERROR(os::rename_new(from, source.name, staging.fd(), layer_name, path));
  // The rename used a name, so check that it moved the right file. Another file goes back at once:
  // the journal does not describe it.
  const auto moved = os::facts_of_name(staging.fd(), layer_name, path);
  if (!moved || !moved->same_file(source.facts)) {
    const Status back = os::rename_new(staging.fd(), layer_name, from, source.name, source.path);
    if (!back) {
      leave();
      return fail(ErrorKind::kFailed,
                  "'{}' was replaced while it was taken over; the file that replaced it is now "
                  "'{}' and could not be moved back ({}); move it where it belongs",
                  source.path, path, one_line(back.error()));
    }
    LAMINA_RETURN_IF_ERROR(os::sync(from, parent));
    LAMINA_RETURN_IF_ERROR(os::sync(staging.fd(), staging.path()));
    return fail(ErrorKind::kFailed, "'{}' was replaced while it was taken over; try again",
                source.path);
  }
  // No other process can open it from here on, so a lease can tell whether one has it open.
  if (source.facts.user != ::geteuid()) {
    LAMINA_RETURN_IF_ERROR(os::take_ownership(source.file, path));
  }
  LAMINA_RETURN_IF_ERROR(os::set_mode(source.file, kOwnMode, path));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts now, os::facts_of(source.file, path));
  if (now.link_count != 1) {
    return fail(ErrorKind::kBusy, "'{}' was given another name while it was taken over; try again",
                source.path);
  }
  const os::Writers writers = os::writers_of(source.file);
  LAMINA_RETURN_IF_ERROR(os::refuse_writers(writers, source.path));
  if (writers == os::Writers::kUnknown) {
    return system_failure("lease to find writers of", source.path, EOPNOTSUPP);
  }
  return os::sync(staging.fd(), staging.path());
}

Adoption::~Adoption() {
  if (store_ == nullptr) return;
  // If this fails, the next writer of the store tries again, and reports it.
  static_cast<void>(contain("put back", [&] { return undo(); }));
}

void Adoption::commit(std::vector<std::string>& notes) {
  const Store& store = *std::exchange(store_, nullptr);
  const Status removed = os::remove_file(store.pending_area(), journal_name(id_),
                                         pending_path(store, journal_name(id_)));
  if (!removed) notes.push_back(one_line(removed.error()));
}

void Adoption::leave() { store_ = nullptr; }

Status Adoption::undo() {
  const Store& store = *std::exchange(store_, nullptr);
  LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> directory, open_staging(store, id_));
  if (!directory) return system_failure("open", pending_path(store, id_), ENOENT);
  LAMINA_RETURN_IF_ERROR(undo_adoption(store, id_, directory->get(), source_directory_.get()));
  return {};
}

Status end_unfinished_adoptions(const Store& store, std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(store.pending_area(), pending_path(store, ".")));
  std::string last;  // in sorted order a directory comes before its journal
  for (const std::string& name : names) {
    if (name.ends_with(kNewJournalSuffix)) {
      remove_if_orphaned(store, name);
      continue;
    }
    const bool is_journal = name.ends_with(kJournalSuffix);
    const std::string id = is_journal ? name.substr(0, name.size() - kJournalSuffix.size()) : name;
    if (std::exchange(last, id) == id) continue;
    // An entry may be an only copy, so entries that are not an adoption's are left alone. A failure
    // here does not stop other snapshots from being written.
    if (!Uuid::parse(id)) {
      notes.push_back(fmt::format("'{}' is not a file of lamina; find out what it is",
                                  pending_path(store, name)));
      continue;
    }
    const auto pause = read_pause_journal(store, *Uuid::parse(id));
    if (!pause) {
      notes.push_back(one_line(pause.error()));
      continue;
    }
    if (*pause) continue;  // recover() ends it
    const auto foreign = why_adoption_is_foreign(store, id);
    if (!foreign || !foreign->empty()) {
      notes.push_back(
          !foreign ? one_line(foreign.error())
                   : fmt::format("ingest {} did not end, and is not acted upon: {}; to "
                                 "make it this store's, run: lamina recover {} --adopt-store",
                                 id, *foreign, store.path()));
      continue;
    }
    const auto ended = end_if_unfinished(store, id);
    if (!ended) {
      notes.push_back(fmt::format("an ingest into '{}' did not end: {}", store.path(),
                                  one_line(ended.error())));
    } else if (*ended) {
      notes.push_back(fmt::format("an ingest into '{}' did not end: '{}' is back in its place",
                                  store.path(), **ended));
    }
  }
  return {};
}

Result<std::vector<std::string>> adopt_foreign_adoptions(const Store& store) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(store.pending_area(), pending_path(store, ".")));
  std::vector<std::string> taken;
  for (const std::string& name : names) {
    if (!name.ends_with(kJournalSuffix)) continue;
    const std::string id = name.substr(0, name.size() - kJournalSuffix.size());
    if (!Uuid::parse(id)) continue;
    LAMINA_ASSIGN_OR_RETURN(std::optional<AdoptionJournal> journal,
                            read_adoption_journal(store, id));
    if (!journal || why_foreign(journal->belongs_to, store.identity()).empty()) continue;
    LAMINA_ASSIGN_OR_RETURN(const std::string here, os::real_path(store.path()));
    LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> staging, open_staging(store, id));
    if (staging) {
      // The copied file has another identity, and its directory is this store's.
      const std::string path = pending_path(store, id) + "/" + journal->layer_name;
      const auto file = os::open_regular(staging->get(), journal->layer_name, O_RDONLY, path);
      if (!file && file.error().kind != ErrorKind::kNotFound) {
        return std::unexpected(file.error());
      }
      if (file) {
        journal->inode = file->facts.inode;
        journal->born_ns = file->facts.born_ns;
        journal->user = file->facts.user;
        journal->group = file->facts.group;
      }
    }
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts directory, os::facts_of(store.fd(), store.path()));
    journal->directory_inode = directory.inode;
    journal->copy_inode = 0;
    journal->copy_born_ns = 0;
    journal->belongs_to = store.identity();
    journal->source = fmt::format("{}/{}.memory", here, id);
    LAMINA_RETURN_IF_ERROR(replace_adoption_journal(store, id, *journal));
    taken.push_back(id);
  }
  return taken;
}

}  // namespace lamina::store
