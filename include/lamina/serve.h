// The page server: a process that fills a VM's memory when the VM touches it (userfaultfd).
// Firecracker connects to its socket when it loads a snapshot with a memory back end of type Uffd.
// docs/page-faults.md describes it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/words.h"

namespace lamina {

/// Which memory is filled without a fault.
enum class Populate : std::uint8_t {
  kNone,
  kWorkingSet,  ///< the blocks that a recorded resume touched first, in that order
  kAll,         ///< the working set, then all other blocks
};

template <>
inline constexpr std::array kWords<Populate> = {
    Word<Populate>{"none", Populate::kNone}, Word<Populate>{"working-set", Populate::kWorkingSet},
    Word<Populate>{"all", Populate::kAll}};

/// A snapshot and the socket that its VMs connect to.
struct ServeEndpoint {
  std::string snapshot{};  ///< path: STORE/NAME
  /// Path of the Unix socket to make. A socket that is there already is replaced if no process
  /// listens on it. It is removed when the server stops. (Firecracker connects to paths of at most
  /// 107 bytes.)
  std::string socket{};
};

struct ServeOptions {
  /// Snapshots, each with a socket of its own, for VMs that something else than resume() loads.
  /// Give either these or `store`.
  std::vector<ServeEndpoint> endpoints{};
  /// The path of a store. All its VMs connect to one socket, page_server_socket(), and each is
  /// served the snapshot that it was resumed from, whose files its pin
  /// (<store>/.vms/<pid>-<start time>) links. A process without a pin, or of another user than its
  /// pin names, is refused. The metrics socket is page_server_metrics_socket(). Empty: none.
  std::string store{};
  /// For VMs whose pins do not set it; resume() sets it for each VM. The same holds for `record`.
  Populate populate = Populate::kNone;
  /// Records which blocks each VM touches first after its resume, and stores the list in the
  /// snapshot that it was resumed from, for Populate::kWorkingSet.
  bool record = false;
  bool once = false;          ///< returns when the first VM has ended
  std::uint32_t threads = 0;  ///< serving threads; 0: one for each processor, at most 4
  /// Permissions of the sockets. Absent: 0600; for a store 0666, because its socket is in a private
  /// directory: only a process that is given a link to it can connect, and only one with a pin is
  /// served.
  std::optional<std::uint32_t> socket_mode{};
  std::string socket_group{};  ///< name of a group; empty: that of the process
  /// User ids that may connect, besides root and the process' own. Not with `store`.
  std::vector<std::uint32_t> allowed_users{};
  /// A directory for the state of running VMs, on tmpfs, to which no other user may write. Empty:
  /// /run/lamina for root, else $XDG_RUNTIME_DIR/lamina, else /dev/shm/lamina-UID. Servers of
  /// `endpoints` with the same directory take over each other's VMs if all processes of one have
  /// died. Each store has a subdirectory of its own.
  std::string state_dir{};
  std::string metrics_socket{};  ///< path of a socket for metrics; empty: none. Not with `store`
  /// Program and arguments of the program that replaces this one on SIGHUP. Empty: none.
  std::vector<std::string> restart_command{};
  /// Called with each line of log, without a line break, from the calling thread. Lines that repeat
  /// are counted. Should return at once. May be empty.
  std::function<void(const std::string&)> log{};
};

/// Runs a page server in this process until a signal stops it, or `once` is over. The calling
/// process supervises a child, which serves. If the child crashes or is killed, another takes its
/// place at once, and the VMs notice a delay only. VMs that an earlier page server has left are
/// taken over first; VMs that cannot be taken over are killed.
///
/// Signals. SIGTERM and SIGINT: stop accepting, fill all memory of the running VMs, so that they
/// need no page server any more, and return; the second one returns at once, and the VMs wait for
/// the next start. SIGHUP: reopen standard error if it is a file, and replace this process with
/// `restart_command` after a child of it has shown that it can serve all VMs.
///
/// If the supervising process is killed, the serving child takes its place, until no VM needs it,
/// and ends by _exit(2).
///
/// If $NOTIFY_SOCKET names a service manager (sd_notify(3)), it is told when VMs can connect and
/// when the server stops; its watchdog is fed.
///
/// Call it from a process with a single thread: it forks. It changes the process' signal mask, and
/// removes $NOTIFY_SOCKET and $WATCHDOG_USEC from the environment.
///
/// kUsage: the options contradict each other; kBusy: the store has a page server already, or a
/// process listens on a socket (as long as that one lives); kExists: there is a file that is not a
/// socket at its path; kNotFound: a snapshot, or the directory of a socket; kCorrupt: a snapshot;
/// kUnsupported: the state directory is not on tmpfs; else kFailed.
Status serve(const ServeOptions& options);

/// Path of the socket that the VMs of a store connect to: <store>/.vms/page-server.sock.
std::string page_server_socket(const std::string& store);

/// Path of the socket where the page server of a store answers with its metrics:
/// <store>/.vms/page-server.metrics.
std::string page_server_metrics_socket(const std::string& store);

/// Path where laminad answers requests (docs/api.md) about a store: <store>/.vms/laminad.sock, a
/// symbolic link to the socket that it listens on. The link of a killed daemon stays behind and may
/// lead to another process' socket: check the peer's user (SO_PEERCRED), and send the store's path
/// in each request (field `store`), which a daemon of another store refuses with status 421.
std::string daemon_socket(const std::string& store);

/// State of the page server of a store.
enum class StoreServer : std::uint8_t {
  kNone,
  kSilent,  ///< starting, or killed and not quite gone: ask again
  kBusy,    ///< it listens, and has not replied within ten seconds
  kServes,  ///< it, or its successor, accepts VMs
  /// It runs, and no process of it can serve, for lack of threads, processes, memory or
  /// descriptors. It goes on trying, and VMs that need pages wait.
  kCannotServe,
};

/// Asks the store's page server, over its control socket, whether it serves; waits at most ten
/// seconds for the reply. kNone also if the state cannot be found out. `cause` is set with
/// kCannotServe, unless it is null. Thread-safe.
StoreServer find_store_server(const std::string& store, std::string* cause = nullptr);

/// Reads the metrics (Prometheus' text format) of a running page server from its metrics socket:
/// ServeOptions::metrics_socket, or page_server_metrics_socket(). kNotFound: there is no such
/// socket, or no process listens on it; kBusy: no reply within some seconds; kInterrupted:
/// `progress`, which may be null, asked to stop; else kFailed. Thread-safe.
Result<std::string> read_serve_metrics(const std::string& metrics_socket,
                                       Progress* progress = nullptr);

}  // namespace lamina
