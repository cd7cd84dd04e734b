// An unfinished pause: the directory that the VMM writes to, which is completed in place and
// published by a rename, and a journal beside it.
//
//   begin        directory and journal are on the disk; now the VMM may be asked
//   acknowledge  the VMM's answer is on the disk: the memory file must never be dropped
//   complete     trailer, links to the base's layers, header, facts: the directory is a snapshot
//   publish      renamed to its name
//   end          the journal is removed
//
// After a crash at any point, any process can claim the pause and repeat the step. A pause that was
// not acknowledged is discarded.
//
// The VMM may write to a freeze directory on tmpfs instead (store/freeze_directory.h). Then:
//
//   begin        as above; the journal names the freeze directory
//   note_answer  the VMM's answer is in the freeze directory: a crash of this process loses
//   nothing,
//                a power failure loses the pause with the VM
//   complete     a layer is made of the memory file; the directory is a snapshot, on the disk, and
//                then the journal says "acknowledged"
//   publish, end as above; the freeze directory is removed before the journal
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/pause_record.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/lock.h"
#include "store/freeze_directory.h"
#include "store/pause_journal.h"
#include "store/snapshot_build.h"
#include "store/snapshot_directory.h"
#include "store/spare_storage.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina::lifecycle {

/// What completing has found in the memory file; zeros if an earlier attempt had completed it.
struct CompletedPause {
  std::uint64_t stored_blocks = 0;
  std::uint64_t zero_blocks = 0;
  std::uint64_t unchanged_blocks = 0;
  store::SpareStorage spare;  ///< to be released once the snapshot is published
};

class PendingPause {
 public:
  /// Makes and locks the directory, reserves the space that completing will need in addition to the
  /// memory file, and writes the journal, durably. kNoSpace if that space is not free. On failure
  /// nothing is left, nor of the journal's freeze directory. `store` must outlive this.
  /// `base_extents`: the number of extents of the base. `freeze`: the journal's freeze directory,
  /// locked.
  static Result<PendingPause> begin(const store::Store& store, const store::PauseJournal& journal,
                                    std::uint64_t memory_bytes, std::uint64_t base_extents,
                                    os::LockedFd freeze = {});

  /// Locks a pause that another process began. nullopt if there is no such pause, it has ended, or
  /// another process has locked it. kFailed if it belongs to another store.
  static Result<std::optional<PendingPause>> claim(const store::Store& store, const Uuid& pause_id);

  [[nodiscard]] const store::PauseJournal& journal() const { return journal_; }
  [[nodiscard]] int directory() const { return staging_ ? staging_->fd() : -1; }
  [[nodiscard]] std::string path() const;
  /// True if the VMM writes, or has written, to a freeze directory.
  [[nodiscard]] bool is_in_memory() const { return !journal_.freeze_directory.path.empty(); }
  /// The freeze directory; -1 if there is none, or it is gone.
  [[nodiscard]] int freeze_directory() const { return freeze_.get(); }
  /// True if the VMM has acknowledged its files, and that is on record: in the journal, or in the
  /// freeze directory. They must never be dropped.
  [[nodiscard]] bool is_acknowledged() const { return journal_.acknowledged || answer_; }
  /// True if the freeze directory is in a file system that this process does not see: whether the
  /// VMM has acknowledged its files is not known then.
  [[nodiscard]] bool may_be_unseen() const { return !journal_.acknowledged && is_unseen_; }
  [[nodiscard]] std::string layer_name() const { return store::layer_file_name(journal_.build_id); }

  /// Replaces the journal, durably.
  Status write_journal(const store::PauseJournal& journal);

  /// Records which directory in the VM's jail the VMM will write to, after it was made. Not synced:
  /// a power failure ends the VM, too.
  Status note_jail_directory(std::uint64_t inode);

  /// Records, durably, that the VMM has acknowledged its files, and the memory file's size.
  Status acknowledge(std::uint64_t memory_bytes);

  /// The same for files in a freeze directory, which only outlives this process. `memory_file`:
  /// facts of the memory file.
  Status note_answer(const os::FileFacts& memory_file);

  /// Records which parts of a diff were written, on a file system where reading the file makes
  /// holes look written. To be called between the VMM's answer and acknowledge(), before any other
  /// process can read it.
  [[nodiscard]] Status record_written(int memory_file, std::uint64_t memory_bytes) const;

  /// Removes the files of a pause that was not acknowledged, which needs no space. The journal
  /// stays: call end() once its contents are recorded elsewhere.
  Status remove_files();

  /// True if the memory file or the VM state of an acknowledged pause is neither in the directory
  /// nor in the jail: it has been removed. Of one in a freeze directory: also if the memory file
  /// has changed since.
  [[nodiscard]] Result<bool> has_lost_files() const;

  /// True if an earlier attempt has renamed the directory to its final name; or if the directory
  /// has been removed.
  [[nodiscard]] bool was_published() const { return !staging_; }

  /// Sets what complete() calls when the state can be read, before it is on the disk
  /// (store::BuildInput::when_readable).
  void call_when_readable(std::function<Status()> call) { when_readable_ = std::move(call); }

  /// Sets the phases that complete() records in the facts. Without them it records none.
  void record_phases(const PausePhases& phases);

  /// Makes the directory a snapshot. May be repeated. `base`: the state that a diff changes, with
  /// the journal's parent pause id; null for a full file. On failure the memory file is unchanged.
  /// Afterwards the journal says "acknowledged".
  Result<CompletedPause> complete(const store::OpenSnapshot* base, std::vector<std::string>& notes);

  /// Publishes under the journal's name and returns the name. If that name is taken (by a snapshot
  /// that this one does not descend from and may not replace, a link, …), or if files that belong
  /// to the state are missing, publishes as NAME@PAUSE-ID instead and adds a note.
  Result<std::string> publish(std::vector<std::string>& notes);

  /// Removes the journal: the pause is finished.
  Status end();

 private:
  PendingPause(const store::Store& store, store::PauseJournal journal)
      : store_(&store), journal_(std::move(journal)) {}

  [[nodiscard]] Status find_freeze_directory();
  [[nodiscard]] Result<CompletedPause> build(const store::OpenSnapshot* base,
                                             std::vector<std::string>& notes);
  [[nodiscard]] Status check_base(const store::OpenSnapshot* base,
                                  const std::string& memory_path) const;
  [[nodiscard]] store::BuildInput build_input(const store::OpenSnapshot* base) const;
  [[nodiscard]] Result<CompletedPause> build_in_place(const store::OpenSnapshot* base,
                                                      std::vector<std::string>& notes);
  [[nodiscard]] Result<CompletedPause> build_from_memory(const store::OpenSnapshot* base,
                                                         std::vector<std::string>& notes);
  [[nodiscard]] Result<bool> is_complete() const;
  [[nodiscard]] bool has_memory_files() const;
  [[nodiscard]] Status fetch_from_jail(std::vector<std::string>& notes) const;
  void shrink_reserve() const;
  Status replace_journal(const store::PauseJournal& journal);
  [[nodiscard]] Status make_sure_of_data(const std::string& layer_path) const;
  [[nodiscard]] std::string other_name() const;
  /// The name of the store's snapshot of this pause; empty if there is none.
  [[nodiscard]] std::string published_name() const;
  /// False, with the reason in `obstacle`, if the name is taken.
  Result<bool> publish_as(const std::string& name, std::string& obstacle,
                          std::vector<std::string>& notes);
  [[nodiscard]] Result<bool> is_what_it_replaced() const;
  Status remove_replaced();
  [[nodiscard]] Status remove_partial_work() const;
  [[nodiscard]] Status write_facts_anew() const;
  [[nodiscard]] Status remove_written_runs() const;
  [[nodiscard]] bool may_replace(const Uuid& existing) const;

  const store::Store* store_;
  store::PauseJournal journal_;
  std::optional<store::Staging> staging_;
  os::LockedFd freeze_;                        ///< the freeze directory
  std::optional<store::FreezeAnswer> answer_;  ///< that is in it
  bool is_unseen_ = false;
  bool left_replaced_ = false;
  std::function<Status()> when_readable_;
  std::optional<RecordedPhases> phases_;
};

}  // namespace lamina::lifecycle
