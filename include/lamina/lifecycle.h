// The life of a sandbox: pause a VM into a store, resume it from there, and put right what a crash
// has left half done.
#pragma once

#include <sys/types.h>
#include <array>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/huge_pages.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/serve.h"
#include "lamina/uuid.h"
#include "lamina/words.h"

namespace lamina {

/// How long Firecracker may take to answer. A process that has died is noticed at once, whatever
/// these say.
struct VmmTimeouts {
  std::chrono::milliseconds request{30'000};  ///< pause, resume and questions
  std::chrono::milliseconds create{900'000};  ///< writing a memory file
  std::chrono::milliseconds load{120'000};
};

/// A Firecracker to talk to.
struct VmmAddress {
  std::string api_socket;  ///< as this process reaches it
  /// The directory that is the VM's root (the jailer's chroot), as this process sees it; empty when
  /// it sees the same files. Every path that is given to Firecracker is then one below it.
  std::string jail;
  VmmTimeouts timeouts;
};

enum class AfterPause : std::uint8_t {
  /// The VM's process is killed when the snapshot is on the disk. Its end is waited for as long as
  /// for a short answer; one that is still there then, because a tracer holds it, is a note of the
  /// report.
  kStop,
  kResume,  ///< a checkpoint: the VM runs on, frozen only for Firecracker's own create and the hook
  kStay,    ///< stays paused
};

template <>
inline constexpr std::array kWords<AfterPause> = {Word<AfterPause>{"stop", AfterPause::kStop},
                                                  Word<AfterPause>{"resume", AfterPause::kResume},
                                                  Word<AfterPause>{"stay", AfterPause::kStay}};

struct PauseOptions {
  VmmAddress vmm;
  std::string store;
  std::string name;
  AfterPause after = AfterPause::kStop;
  /// Run by the shell while the VM is frozen, after its memory was written. Must end with 0.
  std::string frozen_hook;
  std::chrono::milliseconds hook_timeout{60'000};  ///< then it is killed, and has failed
  /// Files that belong to the state: cloned (or copied) into the snapshot while the VM is frozen,
  /// after the hook.
  std::vector<std::string> attachments;
  bool full = false;             ///< a full memory file, also where a diff would do
  bool replace = false;          ///< also replace a snapshot that this VM does not descend from
  Progress* progress = nullptr;  ///< may be null; asked until Firecracker has been asked
  /// As in ResumeOptions: a VM that is served by page faults needs its page server for a pause,
  /// too.
  std::vector<std::string> page_server_command;
};

/// Milliseconds.
struct PausePhases {
  double prepare = 0;   ///< before the VM is frozen: probing, reserving space, journal
  double pause = 0;     ///< Firecracker's pause
  double create = 0;    ///< Firecracker writes
  double journal = 0;   ///< its answer is put on the disk
  double hook = 0;      ///< hook and attachments
  double resume = 0;    ///< Firecracker's resume
  double frozen = 0;    ///< from asking for the pause to the answer to the resume; 0 without one
  double complete = 0;  ///< scan, checksums, trailer, header, syncs
  double publish = 0;
};

struct PauseReport {
  std::string snapshot;  ///< path
  Uuid pause_id;
  std::optional<Uuid> parent_pause_id;
  bool is_diff = false;
  std::string reason;  ///< why it is a diff or a full memory file
  std::uint64_t generation = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t stored_bytes = 0;     ///< of guest memory in the new layer
  std::uint64_t unchanged_bytes = 0;  ///< in the memory file, but as in the base
  PausePhases phases;
  std::vector<std::string> notes;
};

/// Pauses a VM into `store`/`name`: a diff to what it was resumed from (or last paused to) where
/// that is on record and can be trusted, else a full memory file; the report says why.
///
/// On failure before Firecracker has acknowledged the memory file, the VM runs again if it did
/// before, no snapshot has changed, and (when Firecracker had been asked) its next memory file will
/// be a full one. (A VM that cannot be told to run is told again by recover() or by its next pause,
/// and the message says so.) After it nothing is lost: what could not be completed stays queued in
/// the store and is ended by recover() or by the VM's next pause, which waits for it. kBusy when
/// another operation on this VM is under way; kNoSpace when what the pause needs is not there.
Result<PauseReport> pause(const PauseOptions& options);

enum class ResumeMode : std::uint8_t {
  kAuto,        ///< whichever is faster here
  kPageFaults,  ///< by the store's page server
  kFile,        ///< Firecracker maps a materialized file, shared by all VMs of this pause
};

template <>
inline constexpr std::array kWords<ResumeMode> = {Word<ResumeMode>{"auto", ResumeMode::kAuto},
                                                  Word<ResumeMode>{"uffd", ResumeMode::kPageFaults},
                                                  Word<ResumeMode>{"file", ResumeMode::kFile}};

struct NetworkOverride {
  std::string interface_id;
  std::string host_device;
};

struct ResumeOptions {
  VmmAddress vmm;
  std::string store;
  std::string name;
  ResumeMode mode = ResumeMode::kAuto;
  Populate populate = Populate::kWorkingSet;
  bool record = false;  ///< the working set
  std::vector<NetworkOverride> network_overrides;
  std::string vsock_override;  ///< empty: none
  /// Firecracker 1.16: the guest's clock is moved on by the time that has passed since the pause.
  bool clock_realtime = false;
  HugePages huge_pages = HugePages::kAsBefore;  ///< others need Firecracker 1.17
  bool stay_paused = false;                     ///< load only
  /// Starts the store's page server when none runs: program and arguments, to which nothing is
  /// added. Empty: there must be one.
  std::vector<std::string> page_server_command;
  Progress* progress = nullptr;  ///< may be null
};

struct ResumeReport {
  std::string snapshot;
  Uuid pause_id;
  pid_t pid = -1;
  ResumeMode mode = ResumeMode::kPageFaults;  ///< kPageFaults or kFile
  std::string reason;                         ///< why this mode
  bool started_page_server = false;
  double pin_ms = 0;
  double prepare_ms = 0;  ///< materializing, or starting the page server
  double load_ms = 0;
  double resume_ms = 0;
  std::vector<std::string> notes;  ///< also what differs here from where the state was made
};

/// Loads a snapshot into a Firecracker that was just started, and resumes it. What the VM is
/// resumed from is pinned first: the snapshot may be replaced, merged or deleted while it runs. Any
/// number of VMs may be resumed from one snapshot. What the version of Firecracker cannot do is
/// refused before anything is started or loaded. On failure nothing is left of it; Firecracker
/// ends by itself when a load fails. (When it neither ends nor answers, it may have the VM: then
/// the pin stays until recover() finds that it has ended.)
Result<ResumeReport> resume(const ResumeOptions& options);

struct RecoverOptions {
  std::string store;
  VmmTimeouts timeouts;
  /// As in ResumeOptions: VMs that are served by page faults need one.
  std::vector<std::string> page_server_command;
  /// Only says what would be done about pauses, pins and maps. (What ingests and merges have left
  /// is cleaned up all the same.)
  bool dry_run = false;
  /// Queued pauses to give up, whatever they have: their states are lost. kNotFound, before
  /// anything is done, for one that is not queued.
  std::vector<Uuid> give_up;
  /// Makes this store's what a copy of another store has brought along, or another host has left:
  /// completes pauses whose files are all here, discards others that were not acknowledged, removes
  /// pins, puts memory files of unfinished ingests into the store's directory. Processes, sockets,
  /// jails and paths outside the store are not touched. Only right when the other store is gone, or
  /// is another one that does not need these files.
  bool adopt_store = false;
};

struct RecoverReport {
  std::uint64_t completed = 0;      ///< acknowledged pauses that are snapshots now
  std::uint64_t discarded = 0;      ///< pauses that Firecracker had not acknowledged
  std::uint64_t queued = 0;         ///< that could not be completed; notes say why
  std::uint64_t released_pins = 0;  ///< of VMs that have ended
  std::uint64_t removed_maps = 0;
  std::uint64_t resumed_vms = 0;  ///< that a pause which did not end had left frozen
  /// Pins and pauses that came with a copy of another store, or are another host's, and are left
  /// alone (list_store() says why each is).
  std::uint64_t foreign = 0;
  std::uint64_t adopted = 0;  ///< of those, now this store's
  std::vector<std::string> notes;
};

/// Puts right what processes that were killed, or a power failure, left half done in a store. May
/// be called at any time, also while others work on the store, and killed at any moment.
Result<RecoverReport> recover(const RecoverOptions& options);

}  // namespace lamina
