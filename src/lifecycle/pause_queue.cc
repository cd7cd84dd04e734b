#include "lifecycle/pause_queue.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "store/pending_area.h"
#include "store/snapshot_directory.h"
#include "store/staging.h"

namespace lamina::lifecycle {

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
    if (!journal) pending.unreadable.push_back(one_line(journal.error()));
    if (!journal || !*journal) continue;
    const bool is_ours = store::why_foreign((*journal)->belongs_to, store.identity()).empty();
    (is_ours ? pending.journals : pending.foreign).push_back(std::move(**journal));
  }
  // Those that began in the same second are ordered by name.
  for (std::vector<store::PauseJournal>* journals : {&pending.journals, &pending.foreign}) {
    std::sort(journals->begin(), journals->end(),
              [](const store::PauseJournal& a, const store::PauseJournal& b) {
                return std::tie(a.created, a.pause_id) < std::tie(b.created, b.pause_id);
              });
  }
  return pending;
}

namespace {

/// A pause whose files are on tmpfs, acknowledged, is its own store's to complete.
Status check_no_answer(const store::PauseJournal& journal) {
  if (journal.acknowledged || journal.freeze_directory.path.empty()) return {};
  LAMINA_ASSIGN_OR_RETURN(const store::FoundFreezeDirectory found,
                          store::find_freeze_directory(journal.freeze_directory));
  if (found.presence != store::FreezePresence::kThere) return {};
  LAMINA_ASSIGN_OR_RETURN(const auto answer, store::read_freeze_answer(
                                                 found.directory.get(),
                                                 journal.freeze_directory.path, journal.pause_id));
  if (!answer) return {};
  return fail(ErrorKind::kFailed,
              "pause {} cannot be made this store's: its memory file is in '{}'; its own store has "
              "to complete it",
              journal.pause_id.to_string(), journal.freeze_directory.path);
}

}  // namespace

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
  LAMINA_RETURN_IF_ERROR(check_no_answer(*journal));
  journal->api_socket.clear();
  journal->jail_directory = {};
  journal->freeze_directory = {};
  journal->was_running = false;
  journal->belongs_to = store.identity();
  LAMINA_RETURN_IF_ERROR(
      store::replace_journal(store, name, store::encode_pause_journal(*journal)));
  return store::sync_pending_area(store);
}

Status remove_unreadable_pause(const store::Store& store, const Uuid& id) {
  std::vector<std::string> notes;
  LAMINA_RETURN_IF_ERROR(store::remove_pending(store, id.to_string(), notes));
  const std::string path = store::pending_path(store, store::journal_name(id.to_string()));
  LAMINA_RETURN_IF_ERROR(
      os::remove_tree(store.pending_area(), store::journal_name(id.to_string()), path));
  return store::sync_pending_area(store);
}

}  // namespace lamina::lifecycle
