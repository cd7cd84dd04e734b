// Pausing a VM into a store, resuming it from there, and recovering a store after a crash. The VM
// is a process of Firecracker or of Cloud Hypervisor, which is driven over its API socket; which of
// them listens there is found out by a request. What is said of Firecracker below holds for both,
// with the differences in docs/lifecycle.md, "Cloud Hypervisor": there a failed pause never makes
// the next memory file a full one, and options that Cloud Hypervisor does not have are
// kUnsupported.
//
// A program calls recover() when it starts, and again after a pause that failed or once in a while.
//
// The three functions are thread-safe. They may start child processes (a hook, a page server); see
// lamina/store.h.
#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
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

/// How long a reply of Firecracker is waited for; positive. If the process dies, the wait ends at
/// once.
struct VmmTimeouts {
  std::chrono::milliseconds request{30'000};  ///< pause, resume and queries
  std::chrono::milliseconds create{900'000};  ///< creating a snapshot: it writes a memory file
  std::chrono::milliseconds load{120'000};    ///< loading a snapshot
};

/// A process of Firecracker or Cloud Hypervisor.
struct VmmAddress {
  std::string api_socket{};  ///< path, as this process sees it
  /// The root directory of Firecracker's process (the jailer's chroot), as this process sees it.
  /// All paths that Firecracker is given are then below it. Empty: both see the same files.
  std::string jail{};
  VmmTimeouts timeouts{};
};

/// The state of the VM after its pause.
enum class AfterPause : std::uint8_t {
  /// Kills the VM's process (SIGKILL) when the snapshot is on the disk, and waits for its end for
  /// VmmTimeouts::request. If it is still there then (a tracer holds it), a note says so. If it is
  /// the caller's child, the caller reaps it.
  kStop,
  kResume,  ///< the VM runs on: it was frozen while Firecracker wrote, and for the hook
  kStay,    ///< the VM stays paused
};

template <>
inline constexpr std::array kWords<AfterPause> = {Word<AfterPause>{"stop", AfterPause::kStop},
                                                  Word<AfterPause>{"resume", AfterPause::kResume},
                                                  Word<AfterPause>{"stay", AfterPause::kStay}};

/// PauseOptions::freeze_memory_bytes: half of the memory that is available.
inline constexpr std::uint64_t kFreezeMemoryShare = UINT64_MAX;

struct PauseOptions {
  VmmAddress vmm{};
  std::string store{};  ///< path of its directory
  std::string name{};   ///< of the new snapshot in the store, without a slash
  AfterPause after = AfterPause::kStop;
  /// A command that /bin/sh runs while the VM is frozen, after its memory was written. If it exits
  /// with another code than 0, the state is kept as NAME@PAUSE-ID and the pause fails. It runs in
  /// the working directory and environment of this process, with LAMINA_STORE, LAMINA_NAME,
  /// LAMINA_PAUSE_ID and LAMINA_API_SOCKET besides, in a process group of its own, with default
  /// signal actions; its output goes to standard error. Empty: none.
  std::string frozen_hook{};
  /// Positive. Then the hook's process group is killed, and the hook has failed.
  std::chrono::milliseconds hook_timeout{60'000};
  /// Called while the VM is frozen, after the hook, from the thread that called pause(). An error
  /// (or an exception) has the same consequences as a hook that failed; the pause fails with
  /// kFailed and its message. The VM stays frozen until it returns. It must not call pause(),
  /// resume() or recover() for this VM. May be empty.
  std::function<Status()> while_frozen{};
  /// Paths of files that belong to the state, such as a disk. They are cloned, else copied, into
  /// the snapshot's directory while the VM is frozen, after the hook, under their last component:
  /// those must differ from each other and from lamina's own names (snapfile, …). resume() does not
  /// use them: the caller copies them from there (Store::path_of()). One that cannot be copied has
  /// the consequences of a hook that failed.
  std::vector<std::string> attachments{};
  bool full = false;  ///< a full memory file, also where a diff is possible
  /// Replaces a snapshot of that name that this VM does not descend from. (One that it descends
  /// from directly, its last pause or what it was resumed from, is always replaced.)
  bool replace = false;
  /// The snapshot may be resumed only once: see ResumeOptions::again. It cannot be forked.
  bool once = false;
  /// Memory that diffs may use while their VMs are frozen. With AfterPause::kResume Firecracker
  /// writes a diff to tmpfs instead of the disk, and the VM runs on at once; pause() still returns
  /// only when the snapshot is on the disk. The value limits what all pauses of this user have at a
  /// time; a pause needs as much as its VM has memory. If that does not fit, also into the host's
  /// memory and the control groups of the VM's process, the diff goes to the disk, and the report
  /// says why. 0: never use memory. kFreezeMemoryShare: half of what is available when the pause
  /// begins.
  std::uint64_t freeze_memory_bytes = kFreezeMemoryShare;
  /// A directory on tmpfs that only this user can enter; made if it is missing. Empty:
  /// /dev/shm/lamina-freeze-UID.
  std::string freeze_directory{};
  /// Of the new state: a fresh Uuid::random(), never used before. With it the caller can find out
  /// what became of a pause that failed, or that it did not survive. Absent: a random one.
  std::optional<Uuid> pause_id{};
  /// May be null. Only asked whether to stop; it can interrupt the pause until Firecracker is asked
  /// to write the memory.
  Progress* progress = nullptr;
  /// As in ResumeOptions: the pause of a VM that is served by page faults needs its page server.
  std::vector<std::string> page_server_command{};
};

/// Durations in milliseconds.
struct PausePhases {
  double prepare_ms = 0;  ///< before the VM is frozen: probing, reserving space, journal
  double pause_ms = 0;    ///< Firecracker's pause
  double create_ms = 0;   ///< Firecracker writes the memory
  double journal_ms = 0;  ///< its reply is recorded on the disk
  double hook_ms = 0;     ///< hook, `while_frozen` and attachments
  double resume_ms = 0;   ///< Firecracker's resume
  double frozen_ms = 0;   ///< from the pause request to the reply to the resume; 0 without a resume
  double complete_ms = 0;  ///< scan, checksums, trailer, header, syncs
  double publish_ms = 0;   ///< the renames, and their syncs
  double durable_ms = 0;   ///< from the pause request until the snapshot is on the disk
};

/// Where Firecracker has written the memory file of a pause.
enum class PausePlace : std::uint8_t {
  kDisk,    ///< in the store, or in the jail
  kMemory,  ///< on tmpfs; it was stored after the VM ran on
};

template <>
inline constexpr std::array kWords<PausePlace> = {Word<PausePlace>{"disk", PausePlace::kDisk},
                                                  Word<PausePlace>{"memory", PausePlace::kMemory}};

struct PauseReport {
  /// Path. Its name is NAME@PAUSE-ID, with a note, if the name was taken by another snapshot after
  /// the pause had begun.
  std::string snapshot;
  Uuid pause_id;
  std::optional<Uuid> parent_pause_id;
  bool is_diff = false;
  std::string reason;  ///< why it is a diff or a full memory file
  PausePlace place = PausePlace::kDisk;
  std::string place_reason;  ///< why there
  std::uint64_t generation = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t stored_bytes = 0;     ///< of guest memory in the new layer
  std::uint64_t unchanged_bytes = 0;  ///< in the memory file, but equal to the base's
  PausePhases phases;
  std::vector<std::string> notes;  ///< one line each
};

/// Pauses a VM into `store`/`name`. Firecracker writes a diff against the state that the VM was
/// resumed from or last paused to, if that state is on record and can be trusted; else a full
/// memory file. The report says which, and why.
///
/// If it fails before Firecracker has acknowledged the memory file: no snapshot has changed, the VM
/// runs again if it ran before, and its next memory file is a full one if Firecracker had been
/// asked to write. (If the VM cannot be resumed, the message says so; recover() and the VM's next
/// pause try again.)
///
/// (A diff that was written to memory is lost with the power, as the VM is, until it is on the
/// disk; then the snapshot before it is the last one.)
///
/// If it fails after that, the state is not lost: it is stored as NAME@PAUSE-ID (the hook,
/// `while_frozen` or an attachment failed) or under its name (the VM could not be resumed or
/// killed), or it stays queued in the store, and recover() or the VM's next pause completes it. The
/// VM is not killed; it runs on with AfterPause::kResume, else it stays paused. A state that is
/// stored as NAME@PAUSE-ID is what the VM descends from now: its next pause into NAME needs
/// `replace`.
///
/// To tell these apart, look up PauseOptions::pause_id in list_store(). If it is in `pending`, call
/// recover() and look again. Then, in `snapshots`: the state is stored; in `pending`: it is queued;
/// in neither: nothing was acknowledged, unless somebody has removed the snapshot since.
///
/// kUsage: options that contradict each other, or not a name for a snapshot; kNotFound: the store,
/// the socket or an attachment; kExists: the name belongs to a snapshot that this VM does not
/// descend from, and `replace` is not set, or `pause_id` is not new; kUnsupported: Firecracker is
/// too old; kBusy: another operation on this VM is running, also from another store; kNoSpace:
/// there is not enough space, which is checked before the VM is frozen; kInterrupted; else kFailed.
/// A failure after the acknowledgement can have the same kinds.
Result<PauseReport> pause(const PauseOptions& options);

/// How a resumed VM gets its memory.
enum class ResumeMode : std::uint8_t {
  kAuto,        ///< the faster one here
  kPageFaults,  ///< the store's page server fills pages when they are touched (userfaultfd)
  kFile,        ///< Firecracker maps a materialized file, which all VMs of this pause share
};

template <>
inline constexpr std::array kWords<ResumeMode> = {Word<ResumeMode>{"auto", ResumeMode::kAuto},
                                                  Word<ResumeMode>{"uffd", ResumeMode::kPageFaults},
                                                  Word<ResumeMode>{"file", ResumeMode::kFile}};

/// Another host device for a network interface of the VM.
struct NetworkOverride {
  std::string interface_id{};  ///< as in the VM's configuration: "eth0"
  std::string host_device{};   ///< name of a tap device
};

/// Another file for a disk of the VM.
struct DriveOverride {
  std::string drive_id{};  ///< as in the VM's configuration: "_disk0"
  std::string path{};      ///< as the VMM sees it
};

struct ResumeOptions {
  VmmAddress vmm{};     ///< a Firecracker that was just started and has no VM
  std::string store{};  ///< path of its directory
  std::string name{};   ///< of the snapshot in the store, without a slash
  ResumeMode mode = ResumeMode::kAuto;
  Populate populate = Populate::kWorkingSet;  ///< used with kPageFaults
  /// Records every touched block for later resumes; used with kPageFaults. Such a resume is slower,
  /// because each of them faults. Without it only faults are recorded, at three stores to memory
  /// each (docs/page-faults.md, "Working sets").
  bool record = false;
  /// Records nothing.
  bool no_record = false;
  std::vector<NetworkOverride> network_overrides{};  ///< needs Firecracker 1.12
  std::string vsock_override{};  ///< path of another socket; needs Firecracker 1.16. Empty: none
  /// Needs Cloud Hypervisor: Firecracker cannot change drives. A VM of Cloud Hypervisor is not
  /// resumed with a file that another process has open for writing (kBusy), or that belongs to the
  /// store (kUsage).
  std::vector<DriveOverride> drive_overrides{};
  /// Another file (or socket, as it was) of the serial console, and of the console device. Need
  /// Cloud Hypervisor. Empty: as before.
  std::string serial_override{};
  std::string console_override{};
  /// Moves the guest's clock on by the time since the pause. Needs Firecracker 1.16.
  bool clock_realtime = false;
  /// Another value needs Firecracker 1.17. With Cloud Hypervisor: kNone resumes a VM that was on
  /// huge pages from a file, on pages of 4 KiB; other values are refused.
  HugePages huge_pages = HugePages::kAsBefore;
  bool stay_paused = false;  ///< loads the snapshot, and leaves the VM paused
  /// Path of a file with a JSON object: the contents of the VM's metadata service (MMDS), set after
  /// the load and before the VM runs. lamina adds the object "lamina" to it, with what tells this
  /// VM from its clones: `resume_id`, `clone`, `pause_id`, `snapshot`. The VM must have been
  /// configured with MMDS. If Firecracker refuses it, the process is killed: the VM has not run.
  /// Empty: none.
  std::string mmds{};
  /// Resumes a snapshot of PauseOptions::once that was resumed before, which is refused otherwise.
  bool again = false;
  /// Program (searched in $PATH) and arguments that start the store's page server if none runs:
  /// {"lamina", "serve", "--store", STORE}. The started process is detached, survives this one, and
  /// logs to STORE/.vms/page-server.log. Empty: a page server must be running (serve(), `lamina
  /// serve`, or a PageServer of this or another process), else a resume by page faults fails with
  /// kFailed.
  std::vector<std::string> page_server_command{};
  /// May be null. Told of a file that is materialized; can interrupt until Firecracker is asked to
  /// load.
  Progress* progress = nullptr;
};

struct ResumeReport {
  std::string snapshot;  ///< path
  Uuid pause_id;
  pid_t pid = -1;                             ///< of Firecracker
  ResumeMode mode = ResumeMode::kPageFaults;  ///< kPageFaults or kFile
  std::string reason;                         ///< why this mode
  bool started_page_server = false;
  Uuid resume_id;  ///< a random id of this resume, which no other has
  /// The number of this resume among those of the pause in this store, from 1; 0: unknown. Forks of
  /// a snapshot are one pause.
  std::uint64_t clone_number = 0;
  /// How the guest learns that it was resumed: "vmgenid", or "none" (Firecracker before 1.8; on Arm
  /// before 1.9).
  std::string generation_device;
  double pin_ms = 0;      ///< making the pin
  double prepare_ms = 0;  ///< materializing, or starting the page server
  double load_ms = 0;     ///< Firecracker's load
  double resume_ms = 0;   ///< Firecracker's resume
  /// One line each; also what differs between this host and the one that made the state.
  std::vector<std::string> notes;
};

/// Loads a snapshot into a Firecracker that was just started, and resumes the VM. A pin links the
/// snapshot's files first, so the snapshot may be replaced, merged or removed while the VM runs.
/// Any number of VMs may be resumed from one snapshot. What this version of Firecracker does not
/// support is refused before anything is started or loaded.
///
/// On failure the pin is removed. Firecracker exits by itself if a load fails. (If it neither exits
/// nor replies, it may have the VM: the pin then stays until recover() finds that the process has
/// ended.)
///
/// kUsage: not a name for a snapshot, or `mmds` is not a JSON object; kUnsupported: this
/// Firecracker or this VM does not support the options; kNotFound: the snapshot or the socket;
/// kExists: the snapshot may be resumed only once, and was; kCorrupt: the header, the VM state, or
/// a block of a materialized file; kBusy: another operation on this process is running; kNoSpace;
/// kInterrupted; kFailed: Firecracker has a VM already, the snapshot has no VM state, no page
/// server can be had, or any other failure.
Result<ResumeReport> resume(const ResumeOptions& options);

struct RecoverOptions {
  std::string store{};  ///< path of its directory
  VmmTimeouts timeouts{};
  /// As in ResumeOptions: running VMs that are served by page faults need a page server.
  std::vector<std::string> page_server_command{};
  /// Only reports what would be done about pauses, pins and materialized files. (The remains of
  /// killed ingests and merges are cleaned up all the same.)
  bool dry_run = false;
  /// Pause ids of queued pauses to discard, whatever files they have: their states are lost. If one
  /// of them is not queued, the call fails with kNotFound before it does anything.
  std::vector<Uuid> give_up{};
  /// Makes records (pins, queued pauses) this store's own that came with a copy of another store,
  /// or that another host has left. Completes pauses whose files are all in this store, discards
  /// unacknowledged ones, removes pins, and moves memory files of unfinished ingests to STORE/.
  /// Does not touch processes, sockets, jails or paths outside the store. Only right if the other
  /// store is gone or does not need these files.
  bool adopt_store = false;
  /// May be null. Told of pauses that are completed, and asked to stop between pauses and between
  /// VMs; what is not ended by then stays as it was, and the call fails with kInterrupted. Called
  /// from several threads, one at a time.
  Progress* progress = nullptr;
};

/// A snapshot that is still being fetched from a bucket (begin_pull()).
struct ArrivalReport {
  Uuid id;                        ///< its directory in STORE/.arriving
  std::string name;               ///< that it will get in the store; empty: unreadable
  std::string bucket;             ///< where it comes from
  std::uint64_t bytes = 0;        ///< allocated in the store
  std::uint64_t frames = 0;       ///< of its layers
  std::uint64_t frames_here = 0;  ///< that were fetched
  std::uint64_t vms = 0;          ///< that were resumed from it and may run
  bool has_fetcher = false;       ///< a process fetches it now
  bool is_being_resumed = false;  ///< the process that began it has yet to resume a VM from it
  bool is_lost = false;           ///< the bucket does not have the other frames any more
  bool is_removed = false;        ///< none of these used it
};

struct RecoverReport {
  std::uint64_t completed = 0;      ///< acknowledged pauses that became snapshots
  std::uint64_t discarded = 0;      ///< pauses that Firecracker had not acknowledged
  std::uint64_t queued = 0;         ///< pauses that could not be completed; notes say why
  std::uint64_t released_pins = 0;  ///< pins of VMs that have ended, removed
  std::uint64_t removed_maps = 0;   ///< materialized files that no VM mapped
  std::uint64_t resumed_vms = 0;    ///< VMs that an unfinished pause had left frozen
  /// Pins, pauses and arrivals of another store (this one is a copy) or of another host, which were
  /// not touched. list_store() says why a pin or pause is foreign, `notes` why an arrival is.
  std::uint64_t foreign = 0;
  std::uint64_t adopted = 0;           ///< foreign records that adopt_store made this store's
  std::uint64_t removed_arrivals = 0;  ///< that nobody used any more
  std::vector<ArrivalReport> arrivals;
  std::vector<std::string> notes;  ///< one line each
};

/// Finishes or removes everything in a store that killed processes or a power failure have left
/// unfinished. May be called at any time, also while other threads and processes use the store, and
/// may be killed at any moment. What cannot be finished stays as it is and is counted in the report
/// (`queued`); that is not an error. What another operation works on is left to it.
///
/// An arriving snapshot that no VM was resumed from, that no process fetches, and that nobody is
/// about to resume from is removed: it can be pulled again. Its pin in the bucket expires by
/// itself.
///
/// What was done before a failure stays done. kNotFound: the store, or a pause of `give_up`;
/// kInterrupted; else kFailed.
Result<RecoverReport> recover(const RecoverOptions& options);

}  // namespace lamina
