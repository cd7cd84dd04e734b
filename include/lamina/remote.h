// Snapshots in an object store: a bucket (S3), or a directory.
//
// The bucket is the only shared state. Hosts push the snapshots of their stores to it, and pull
// them from it; any number of them may do so at the same time. docs/remote.md has the protocol, and
// what it guarantees. A bucket keeps the states of a name as numbered records; the one with the
// highest number is the newest, and is what a pull gets.
//
// A bucket is given by its URL: s3://BUCKET/PREFIX?OPTION=VALUE&…, or file:///DIRECTORY.
// Credentials are found where other programs find them, never in the URL.
//
// All functions are thread-safe, and may fail, besides the kinds that are listed there, with
// kUsage: the URL is malformed; kNotFound: the directory of a file:// URL does not exist;
// kPermission: the bucket refuses it, or the credentials cannot be used; kInterrupted; kFailed: the
// bucket does not answer, or answers with an error, also after several attempts. A build without
// LAMINA_REMOTE has these functions too; they fail with kUnsupported.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lamina/late_requests.h"
#include "lamina/pack.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina {

/// Requests to a bucket. Each attempt counts.
struct RemoteRequests {
  /// By how they ended: "done", "absent", "exists", "denied", "unavailable", "unknown" (a write
  /// without an answer), "corrupt", "refused".
  std::map<std::string, std::uint64_t> by_outcome;
  std::uint64_t repeated = 0;  ///< attempts that repeated another one
};

struct PushOptions {
  std::string url{};
  std::string snapshot{};  ///< path: STORE/NAME
  /// Name in the bucket; empty: that of the snapshot.
  std::string name{};
  PackCodec codec = PackCodec::kZstd;
  std::string key_file{};     ///< as PackOptions::key_file
  std::string key_command{};  ///< as PackOptions::key_command
  /// Publishes after the newest state of the name, also if the snapshot does not descend from it.
  bool replace = false;
  /// Nothing is written, in the bucket or the store. The report says what a push would do.
  bool dry_run = false;
  std::uint64_t rate_limit_bytes_s = 0;  ///< of uploads; 0: no limit
  /// Gives the calling thread idle CPU and I/O priority. It keeps them.
  bool background = false;
  RemoteRequests* requests = nullptr;  ///< is added to, also by a push that fails; may be null
  Progress* progress = nullptr;        ///< may be null
};

struct PushReport {
  std::string snapshot;      ///< path
  std::string name;          ///< under which it was published
  std::uint64_t number = 0;  ///< of its record
  Uuid pause_id;
  /// The newest state of the name is another one's: the snapshot was published under `name`, which
  /// is the name that was asked for, "@" and the pause id.
  bool is_conflict = false;
  /// It was there already; nothing was sent.
  bool is_already_there = false;
  std::uint32_t uploaded_objects = 0;  ///< with `dry_run`: to be uploaded
  std::uint32_t reused_objects = 0;    ///< that the bucket had
  std::uint64_t data_bytes = 0;        ///< of the layers and files, before compression
  std::uint64_t uploaded_bytes = 0;    ///< with `dry_run`: before compression
  std::uint64_t reused_bytes = 0;
  std::vector<std::string> notes;  ///< one line each
};

/// Pushes a snapshot. Layers that the bucket has are not sent again. When it returns without an
/// error, the snapshot is whole in the bucket, and stays until it is removed there. The local
/// snapshot is not changed; the store records where it was pushed to.
///
/// If the newest state of the name is not one that this snapshot descends from (another host has
/// pushed meanwhile), nothing is overwritten: see PushReport::is_conflict. A push that fails can be
/// repeated; it does not send again what is there. If the error says that it is not known whether
/// the snapshot was published, a repetition finds out.
///
/// kNotFound: the snapshot; kCorrupt: the snapshot, or a record in the bucket; kUnsupported: a
/// layer has no checksums (written by wrenn); kUsage: the name is too long for a bucket; kNoSpace.
Result<PushReport> push_snapshot(const PushOptions& options);

struct UnpushedOptions {
  std::string url{};
  std::string store{};        ///< path of the local store
  std::string pattern = "*";  ///< names, as of the shell
  /// As read_bucket_id() said: push records with another id do not count, since the bucket was
  /// emptied or made anew since. Nil: the bucket has no id, so no record counts. Absent: all count.
  std::optional<Uuid> bucket_id{};
};

/// A state that a bucket does not have, as far as the store knows.
struct UnpushedState {
  std::string name;
  Uuid pause_id;
  std::string created;  ///< RFC 3339, UTC; may be empty. Untrusted text of a file
};

/// The snapshots of a store that no push record names: neither under their own name, nor under the
/// one that a conflict would have given them. Snapshots that cannot be read are left out. Sends
/// nothing to the bucket. kNotFound: the store.
Result<std::vector<UnpushedState>> list_unpushed(const UnpushedOptions& options);

struct BucketIdOptions {
  std::string url{};
  RemoteRequests* requests = nullptr;  ///< as PushOptions::requests
  Progress* progress = nullptr;        ///< may be null; interrupts the call
};

/// The id of a bucket, which its first push gives it; nil: it has none, because nothing was pushed
/// to it since it was made or emptied. One request; two if there is none, since a single answer
/// that something is absent is not believed. kNotFound: the directory of a file:// URL;
/// kCorrupt: v1/format is damaged or of a later version; kFailed: the bucket does not answer.
Result<Uuid> read_bucket_id(const BucketIdOptions& options);

/// True if a snapshot's name matches a pattern of UnpushedOptions.
bool matches_pattern(const std::string& name, const std::string& pattern);

struct PullOptions {
  std::string url{};
  std::string name{};   ///< in the bucket
  std::string store{};  ///< path of the local store
  /// Name of the new snapshot; empty: `name`.
  std::string as{};
  std::string key_file{};
  std::string key_command{};
  RemoteRequests* requests = nullptr;  ///< as PushOptions::requests
  Progress* progress = nullptr;        ///< may be null
  /// As CacheOptions::limit_bytes. Room is made when it is known how much is to come; when it is
  /// here, the bound is enforced again. Absent: no bound.
  std::optional<std::uint64_t> cache_bytes{};
};

struct PullReport {
  std::string snapshot;      ///< path
  std::string name;          ///< in the bucket
  std::uint64_t number = 0;  ///< of the record
  Uuid pause_id;             ///< the same as when it was pushed: it is the same guest state
  std::uint64_t generation = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t linked_layers = 0;  ///< that another snapshot of the store had
  std::uint32_t fetched_layers = 0;
  std::uint64_t data_bytes = 0;  ///< of what was fetched, decompressed
  std::uint64_t fetched_bytes = 0;
  std::vector<std::string> notes;  ///< one line each
  // With PullOptions::cache_bytes, as in CacheReport:
  std::uint64_t cache_bytes = 0;
  std::vector<std::string> evicted{};
  std::uint64_t evicted_bytes = 0;
};

/// Fetches the newest state of a name into a store, with the same pause id and layers. Every block
/// is checked before it is written, the VM state against its digest, and the whole as for opening a
/// snapshot. It is published by one rename: a crash leaves all of it or nothing.
///
/// kNotFound: the bucket has no state of that name, or it was removed meanwhile; kCorrupt:
/// something in the bucket is damaged; kExists: the store has a snapshot of that name; kUsage,
/// kPermission: as for unpack_snapshot(); kBusy: another writer has the lock of the name; kNoSpace.
Result<PullReport> pull_snapshot(const PullOptions& options);

struct LazyPullOptions {
  PullOptions pull{};
  /// Program (searched in $PATH) and arguments that fetch the rest, to which "--store STORE ID" is
  /// added: {"lamina", "remote", "fetch"}. The store's page server starts it. Empty:
  /// fetch_arriving() is called by somebody.
  std::vector<std::string> fetch_command{};
  /// A VM whose thread has waited so long for a block that cannot be fetched is killed. 0: no
  /// limit.
  std::chrono::seconds wait_limit{3600};
};

struct LazyPullReport {
  PullReport pull;
  /// True: resume() finds the snapshot under its name although its memory is still being fetched;
  /// other functions do not find it yet. False: it is whole.
  bool is_arriving = false;
  bool is_already_there = false;  ///< nothing was done: it was whole, or arriving, before
  /// Keeps recover() and evictions from removing the snapshot before a VM is resumed from it: drop
  /// it after resume().
  std::shared_ptr<const void> hold{};
};

struct CacheOptions {
  std::string url{};
  std::string store{};  ///< path of the local store
  /// The snapshots of the store that the bucket has too take at most so many bytes.
  std::uint64_t limit_bytes = 0;
  std::string keep{};                  ///< name of a snapshot that stays in any case; may be empty
  RemoteRequests* requests = nullptr;  ///< as PushOptions::requests
  Progress* progress = nullptr;        ///< may be null
};

struct CacheReport {
  /// Allocated bytes of all snapshots of the cache, those that must stay and what is arriving
  /// included. A layer that several of them have counts once.
  std::uint64_t cache_bytes = 0;
  std::vector<std::string> evicted{};  ///< names
  std::uint64_t evicted_bytes = 0;     ///< that this has freed
  std::vector<std::string> notes{};    ///< one line each; if the cache is above its bound, why
};

/// Evicts snapshots from a store, those first that were not resumed for longest, until its cache is
/// within the bound. The cache is the snapshots whose names and pauses the store has pushed to the
/// bucket, or pulled. None is evicted unless the bucket has just said that a pull of its name gets
/// this state or a descendant of it; and none from which a VM runs or is about to be resumed, that
/// another process writes, or whose layers all belong to others too. If too few may go, or the
/// bucket does not answer, that is not an error: a note says by how much the cache is above its
/// bound, and why. docs/remote.md has the details.
///
/// kNotFound: the store.
Result<CacheReport> bound_cache(const CacheOptions& options);

/// Keeps the whole snapshot at `path` (STORE/NAME) from being evicted, also by other processes,
/// until the result is dropped: after resume(). Null: there is no such snapshot.
Result<std::shared_ptr<const void>> hold_for_resume(const std::string& path);

/// Begins a pull: fetches all but the memory, so that a VM can be resumed at once by page faults. A
/// pin keeps the objects in the bucket until everything is here. If the store has the snapshot, or
/// it is arriving already, the bucket is not asked. Without that pin (a collector is about to
/// delete an object), or if the store has all layers, this is pull_snapshot(). Errors as for that.
Result<LazyPullReport> begin_pull(const LazyPullOptions& options);

struct FetchOptions {
  std::string store{};  ///< path
  Uuid arrival{};       ///< of the arriving snapshot
  RemoteRequests* requests = nullptr;
  Progress* progress = nullptr;
};

struct FetchReport {
  std::string snapshot;  ///< path; empty: another process has completed it
  std::string name;
  std::uint64_t fetched_bytes = 0;
  LateRequests late_requests{};  ///< of this call; late_requests_of() has the sum
  std::vector<std::string> notes;
};

/// Fetches what is missing of an arriving snapshot: first what VMs wait for, then its working set,
/// then the rest. When all is here, and on the disk, the snapshot gets its name; if that was given
/// to another one meanwhile, the name "NAME@PAUSE". Failures of the bucket are not errors: they are
/// repeated without limit.
///
/// kNotFound: there is no such arrival, or the bucket does not have an object any more; kBusy:
/// another process fetches it; kInterrupted; else the errors of pull_snapshot().
Result<FetchReport> fetch_arriving(const FetchOptions& options);

struct RemoteListOptions {
  std::string url{};
  bool all = false;  ///< all records, not only the newest state of each name
  Progress* progress = nullptr;
};

struct RemoteListing {
  std::string name;
  std::uint64_t number = 0;
  Uuid pause_id;
  std::optional<Uuid> parent_pause_id;
  std::string created;  ///< RFC 3339, UTC, by the clock of the host that pushed it
  std::uint64_t memory_bytes = 0;
  std::uint32_t objects = 0;
  std::uint64_t stored_bytes = 0;  ///< of its objects; other snapshots may share them
  bool encrypted = false;
  std::optional<Error> error;  ///< why it cannot be read; then only name and number are known
};

struct RemoteListReport {
  std::vector<RemoteListing> snapshots;  ///< by name, then by number
  std::vector<std::string> notes;
};

/// Lists what a bucket has. No key is needed.
Result<RemoteListReport> list_remote(const RemoteListOptions& options);

struct RemoteUseOptions {
  std::string url{};
  Progress* progress = nullptr;
};

struct RemoteUseReport {
  std::uint64_t snapshots = 0;  ///< manifests
  std::uint64_t objects = 0;
  std::uint64_t object_bytes = 0;
  std::uint64_t referenced_objects = 0;  ///< of them
  std::uint64_t referenced_bytes = 0;
  std::uint64_t record_bytes = 0;
  std::uint64_t pins = 0;
  std::uint64_t tombstones = 0;
  std::uint64_t other_keys = 0;  ///< that are not lamina's
  std::vector<std::string> notes;
};

/// Adds up what a bucket has. kCorrupt: a record cannot be read.
Result<RemoteUseReport> use_of_remote(const RemoteUseOptions& options);

struct RemoteRemoveOptions {
  std::string url{};
  std::string name{};
  bool dry_run = false;
  Progress* progress = nullptr;
};

struct RemoteRemoveReport {
  std::string name;
  std::uint64_t number = 0;   ///< of the newest state
  std::uint64_t records = 0;  ///< removed, or to be removed
  std::vector<std::string> notes;
};

/// Removes all states of a name. A record of the removal stays. The objects stay until the next
/// prune. kNotFound: there is no state; kBusy: the name was changed meanwhile, nothing was removed.
Result<RemoteRemoveReport> remove_remote(const RemoteRemoveOptions& options);

struct PruneOptions {
  std::string url{};
  /// Which older states stay, of the names that match `pattern`. The newest state of a name always
  /// stays. If none of the three is set, all stay.
  std::optional<std::uint64_t> keep_last{};   ///< the newest n
  std::optional<std::uint64_t> keep_daily{};  ///< the newest of each of the last n days (UTC)
  std::optional<std::chrono::seconds> keep_within{};  ///< the states of this time
  std::string pattern = "*";                          ///< as of the shell
  bool dry_run = false;
  Progress* progress = nullptr;
};

struct PruneReport {
  std::uint64_t kept_snapshots = 0;
  std::uint64_t removed_records = 0;  ///< by the rules of retention; with `dry_run`: to be removed
  std::uint64_t expired_pins = 0;
  std::uint64_t removed_objects = 0;
  std::uint64_t removed_bytes = 0;
  std::uint64_t kept_objects = 0;
  /// Multipart uploads of pushes that have ended without completing them; with `dry_run`: to be
  /// aborted.
  std::uint64_t aborted_uploads = 0;
  std::vector<std::string> notes;
};

/// Removes older states by the rules of retention, then what nothing references. Pushes and pulls
/// may go on meanwhile, and several prunes too. If a list fails, or a record or pin cannot be read,
/// nothing more is removed (kCorrupt, or the error of the bucket).
Result<PruneReport> prune_remote(const PruneOptions& options);

struct RemoteVerifyOptions {
  std::string url{};
  std::string name{};  ///< empty: all
  bool data = false;   ///< reads and checks everything, not only sizes
  std::string key_file{};
  std::string key_command{};
  Progress* progress = nullptr;
};

struct RemoteVerifyReport {
  std::uint64_t snapshots = 0;
  std::uint64_t objects = 0;  ///< each counted once
  std::uint64_t object_bytes = 0;
  std::uint64_t checked_blocks = 0;   ///< with `data`
  std::vector<std::string> problems;  ///< one line each

  [[nodiscard]] bool is_intact() const { return problems.empty(); }
};

/// Checks that the objects of all manifests are there with their sizes, and with `data` that every
/// block matches its checksum. What is wrong is in the report. kNotFound: no such name.
Result<RemoteVerifyReport> verify_remote(const RemoteVerifyOptions& options);

/// One property of an object store that was tried.
struct RemoteCheck {
  std::string name;     ///< "conditional_put_race"
  std::string meaning;  ///< one line: what the store must do
  bool passed = false;
  std::string detail;  ///< one line: what it did instead; "" if passed
};

struct RemoteCheckReport {
  std::string store;  ///< "s3://bucket/prefix/"
  std::vector<RemoteCheck> checks;
  /// The store's clock less this host's; nullopt if the store does not tell its time.
  std::optional<std::int64_t> clock_difference_s{};
  /// Objects of the trial that could not be removed.
  std::vector<std::string> left_behind{};

  /// True if every check passed.
  [[nodiscard]] bool is_usable() const;
};

/// Tries whether the object store at `url` does what lamina needs: writes some 20 MiB below
/// "probe/", and removes them. URLs:
/// s3://BUCKET[/PREFIX][?endpoint=…&region=…&path_style=…&ca_file=…&profile=…] and
/// file:///DIRECTORY. Credentials are found as the SDKs of AWS find them. `progress` may be null;
/// it is only asked whether to stop.
///
/// A property that is missing is a failed check, not an error; if nothing can be written, that is
/// the only check. Errors: kUsage: the URL; kNotFound: there is no such directory; kPermission:
/// credentials that are configured but incomplete; kUnsupported: libcurl is not installed;
/// kInterrupted; else kFailed. Thread-safe, but reads the environment.
Result<RemoteCheckReport> check_remote(const std::string& url, Progress* progress = nullptr);

}  // namespace lamina
