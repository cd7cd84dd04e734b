// A store: a directory of snapshots, opened once and used for many operations.
//
//   auto store = lamina::Store::open("/var/lib/sandboxes");
//   if (!store) return fail(store.error().message);
//   auto report = store->ingest({.memory_file = "/run/vm/mem", .snapshot = "web-1"});
//
// The methods take the options, and return the reports and errors, of the functions of the same
// names (lamina/ingest.h, …; remove(): remove_snapshots(); fork(), pack(), unpack():
// fork_snapshot() and so on; read(): SnapshotReader::open(); list(): list_store()). There are two
// differences. A snapshot without a slash is a name in this store, and kUsage if it cannot be one;
// with a slash it is a path. The
// field `store` of the options of pause(), resume() and recover() is set by the method.
//
// Terms. A snapshot is a directory STORE/NAME: a header, layers, and optionally a VM state. NAME
// has 1 to 200 letters, digits and characters of "._-+@=:,", and begins with a letter or digit. A
// layer is a file with the blocks (4096 bytes each) of one pause; snapshots share layers by hard
// links. A build id names a layer, a pause id names a guest state: forks and merges of a snapshot
// keep its pause id. docs/design.md and docs/lifecycle.md have the rest.
//
// Options are structs; name the fields that differ from their defaults. Not given is: an empty
// std::optional, a null pointer, an empty function, list or buffer, and an empty string where the
// comment says so. An empty string in a std::optional is given, and is an error.
//
// Rules for all operations:
// - Paths are those of the calling process; relative ones count from its working directory at each
//   call. Programs that change it need absolute paths, also for Store::open().
// - An operation that writes needs a store that belongs to the process' effective user and that no
//   other user may write to (unless it has the sticky bit). It creates lamina's own directories
//   (.tmp, .pending, .vms, .lock, …) in it, and cleans up what killed processes have left. It locks
//   the name of the snapshot that it writes. ingest(), merge(), fork(), remove() and repair() fail
//   with kBusy if another writer has that lock; a pause waits for it, and a compaction tries again.
// - Files and directories belong to the effective user and only that user can use them (0600,
//   0700), whatever the umask. (What a VM in a jail needs is given to the VM's user.)
// - An operation returns when its result is on the disk.
// - `notes` of a report are for a person. Programs should not depend on their text. Options are
//   named as in Error::remedy.
// - Calls block. Long ones take a Progress, which can interrupt them.
// - Every function is thread-safe unless its comment says otherwise. An object of options or of a
//   report is the caller's, and may be used by one thread at a time.
//
// What the library does to its process:
// - It does not log, exit, or change signal actions, environment, working directory or umask.
//   serve(), which takes over the calling process, is the exception: see lamina/serve.h.
// - All descriptors are close-on-exec. A reader has one for each layer of its snapshot, and one
//   more.
// - Signals may arrive at any time: interrupted system calls are repeated. Threads of the library
//   block all signals, except those of faults (SIGSEGV, …) and profilers (SIGPROF). Writes to
//   closed sockets raise no SIGPIPE. While a memory file is ingested with Layout::kAdopted or
//   `consume`, a process that opens it for writing causes SIGURG here; the default action is to
//   ignore it. A program with a limit on file sizes (RLIMIT_FSIZE) should ignore SIGXFSZ, so that
//   the write fails instead.
// - pause(), resume() and recover() start child processes: for a hook, for a page server, and, with
//   another user's VM, for one system call. They wait for their children by pid. A SIGCHLD
//   handler, SIG_IGN, or a thread that waits for any child does no harm.
// - The program may fork. A child that was forked while an operation ran in another thread should
//   exec or _exit(2) soon; locks of the operation end with it nevertheless. In a child of a program
//   with one thread, handles may be used.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/compact.h"
#include "lamina/export.h"
#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/inspect.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/pack.h"
#include "lamina/remove.h"
#include "lamina/repair.h"
#include "lamina/result.h"
#include "lamina/snapshot.h"
#include "lamina/verify.h"

namespace lamina {

/// A handle of a store. Copies share one open store, which is closed with the last of them.
/// Thread-safe: any number of threads may use one handle at the same time, and any number of
/// processes may use the store. A handle that was moved from can only be assigned or destroyed.
///
/// If the store's directory is renamed or replaced, every operation on it fails with kFailed: open
/// the store again. Readers that are open are not affected.
class Store {
 public:
  /// Opens the directory `path` for writing, which makes sense once for each process. (To read a
  /// store of another user, use the functions outside this class.) If it is not a store yet, it
  /// becomes one: after a check that the file system can do what a store needs, lamina's own
  /// directories are made in it. What killed processes have left of ingests and merges is cleaned
  /// up; notes() tells what. (Pauses: recover().) kNotFound: there is no such directory; kUsage: it
  /// is one of lamina's own directories in a store; kPermission: it belongs to another user, or
  /// others may write to it; kUnsupported: its file system cannot exchange directories; else
  /// kFailed.
  static Result<Store> open(const std::string& path);

  /// As given to open().
  [[nodiscard]] const std::string& path() const;
  /// What open() cleaned up, one line each.
  [[nodiscard]] const std::vector<std::string>& notes() const;
  /// The path of snapshot `name`, for the functions outside this class. Does not check the name.
  [[nodiscard]] std::string path_of(const std::string& name) const;

  [[nodiscard]] Result<IngestReport> ingest(IngestOptions options) const;
  [[nodiscard]] Result<MergeReport> merge(MergeOptions options) const;
  [[nodiscard]] Result<CompactReport> compact(CompactOptions options) const;
  [[nodiscard]] Result<MaterializeReport> materialize(MaterializeOptions options) const;
  [[nodiscard]] Result<VerifyReport> verify(VerifyOptions options) const;
  [[nodiscard]] Result<RepairReport> repair(const std::string& snapshot) const;
  [[nodiscard]] Result<ForkReport> fork(ForkOptions options) const;
  [[nodiscard]] Result<RemoveReport> remove(RemoveOptions options) const;
  [[nodiscard]] Result<PackReport> pack(PackOptions options) const;
  [[nodiscard]] Result<UnpackReport> unpack(UnpackOptions options) const;
  [[nodiscard]] Result<FirecrackerExportReport> export_firecracker(
      FirecrackerExportOptions options) const;
  [[nodiscard]] Result<SnapshotInfo> inspect(const std::string& snapshot) const;
  [[nodiscard]] Result<SnapshotReader> read(const std::string& snapshot) const;
  [[nodiscard]] Result<StoreListing> list(const ListOptions& options = {}) const;

  [[nodiscard]] Result<PauseReport> pause(PauseOptions options) const;
  [[nodiscard]] Result<ResumeReport> resume(ResumeOptions options) const;
  [[nodiscard]] Result<RecoverReport> recover(RecoverOptions options) const;

 private:
  struct State;
  explicit Store(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace lamina
