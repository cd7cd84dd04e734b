// A pause on its way into the store: the directory that the VMM writes to, completed in place and
// published by a rename, with a journal beside it.
//
//   begin        directory and journal are on the disk; now the VMM may be asked
//   acknowledge  the VMM's answer is on the disk: the memory file is part of the chain for ever
//   complete     trailer, links to the base's layers, header, facts: the directory is a snapshot
//   publish      renamed to its name
//   end          the journal is removed
//
// Each step can be done again after a crash at any point, by whoever claims the pause then. A pause
// that was not acknowledged is discarded.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/pause_journal.h"
#include "store/snapshot_directory.h"
#include "store/spare_storage.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina::lifecycle {

/// What completing has found in the memory file; zeros when an earlier try had completed it.
struct CompletedPause {
  std::uint64_t stored_blocks = 0;
  std::uint64_t zero_blocks = 0;
  std::uint64_t unchanged_blocks = 0;
  store::SpareStorage spare;  ///< to be given back once it is published
};

class PendingPause {
 public:
  /// Makes and locks the directory, reserves in it the space that completing will need beyond the
  /// memory file, and writes the journal, durably. kNoSpace when there is not that much. On failure
  /// nothing is left. `store` must outlive this. `base_extents` is how many the base has.
  static Result<PendingPause> begin(const store::Store& store, const store::PauseJournal& journal,
                                    std::uint64_t memory_bytes, std::uint64_t base_extents);

  /// Locks a pause that another process began. Nothing when it is none, has ended, or is another's.
  /// kFailed when it is another store's.
  static Result<std::optional<PendingPause>> claim(const store::Store& store, const Uuid& pause_id);

  [[nodiscard]] const store::PauseJournal& journal() const { return journal_; }
  [[nodiscard]] int directory() const { return staging_ ? staging_->fd() : -1; }
  [[nodiscard]] std::string path() const;
  [[nodiscard]] std::string layer_name() const { return store::layer_file_name(journal_.build_id); }

  /// Replaces the journal, durably.
  Status write_journal(const store::PauseJournal& journal);

  /// Puts on record which directory in the VM's jail the VMM is to write to, now that it is made. A
  /// power failure, which the VM does not survive either, may take that back.
  Status note_jail_directory(std::uint64_t inode);

  /// The VMM has answered that its files are written: puts that, and the memory file's size, on
  /// record.
  Status acknowledge(std::uint64_t memory_bytes);

  /// Puts on record what a diff has written, where that cannot be told any more once somebody has
  /// read it. Before anybody can: called between the VMM's answer and acknowledge().
  [[nodiscard]] Status record_written(int memory_file, std::uint64_t memory_bytes) const;

  /// Removes the files of a pause that was not acknowledged, which needs no space. The journal
  /// stays: end() it when what it says is on record elsewhere.
  Status remove_files();

  /// True when the memory file or the VM state of an acknowledged pause is neither here nor in the
  /// jail: somebody has removed it.
  [[nodiscard]] bool has_lost_files() const;

  /// True when an earlier try has come so far that the directory was renamed to its name; or when
  /// somebody has removed it.
  [[nodiscard]] bool was_published() const { return !staging_; }

  /// Makes the directory a snapshot. Repeatable. `base` is the state that a diff changes, with the
  /// pause id of the journal; null for a full file. On failure the memory file is what it was.
  Result<CompletedPause> complete(const store::OpenSnapshot* base, std::vector<std::string>& notes);

  /// Publishes under the journal's name. When that cannot be had (a snapshot is there that this one
  /// does not descend from and may not replace, a link, …), or files that belong to the state are
  /// missing, it is published as NAME@PAUSE-ID instead, and a note says so. Returns the name.
  Result<std::string> publish(std::vector<std::string>& notes);

  /// Removes the journal: nothing is left to be done.
  Status end();

 private:
  PendingPause(const store::Store& store, store::PauseJournal journal)
      : store_(&store), journal_(std::move(journal)) {}

  [[nodiscard]] Status fetch_from_jail(std::vector<std::string>& notes) const;
  void shrink_reserve() const;
  Status replace_journal(const store::PauseJournal& journal);
  [[nodiscard]] Status make_sure_of_data(const std::string& layer_path) const;
  [[nodiscard]] std::string other_name() const;
  /// The name that a snapshot of this pause has in the store; empty when there is none.
  [[nodiscard]] std::string published_name() const;
  /// False, with the reason, when the name cannot be had.
  Result<bool> publish_as(const std::string& name, std::string& obstacle,
                          std::vector<std::string>& notes);
  [[nodiscard]] Result<bool> is_what_it_replaced() const;
  Status remove_replaced();
  [[nodiscard]] Status remove_partial_work() const;
  [[nodiscard]] Status write_facts_anew() const;
  [[nodiscard]] Status remove_written_runs() const;
  [[nodiscard]] bool may_replace(const store::OpenSnapshot& existing) const;

  const store::Store* store_;
  store::PauseJournal journal_;
  std::optional<store::Staging> staging_;
  bool left_replaced_ = false;
};

struct PendingPauses {
  /// Sorted by when they began; read without their locks: they may change or go at any time.
  std::vector<store::PauseJournal> journals;
  /// The same of other stores, which a copy of one has: nobody is to act upon them here.
  std::vector<store::PauseJournal> foreign;
  /// Journals that cannot be read: whose they are is not known, and they may have been
  /// acknowledged.
  std::vector<std::string> unreadable;
};
Result<PendingPauses> pending_pauses(const store::Store& store);

/// Makes another store's pause ours, durably. Its VM, that VM's socket and its jail remain the
/// other store's: the journal names none of them from then on. kFailed when the files of an
/// acknowledged pause are not all here.
Status adopt_pause(const store::Store& store, const Uuid& id);

/// Removes a pause whose journal cannot be read, with its files. Whose it was is not known: before
/// this, every VM's next memory file must have been made a full one.
Status remove_unreadable_pause(const store::Store& store, const Uuid& id);

}  // namespace lamina::lifecycle
