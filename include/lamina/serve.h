// Serving guest memory by page faults: the page server that Firecracker connects to.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/words.h"

namespace lamina {

/// What is filled without a fault asking for it.
enum class Populate : std::uint8_t {
  kNone,
  kWorkingSet,  ///< the blocks that a recorded resume touched first, in that order
  kAll,         ///< those, then all of the rest
};

template <>
inline constexpr std::array kWords<Populate> = {
    Word<Populate>{"none", Populate::kNone}, Word<Populate>{"working-set", Populate::kWorkingSet},
    Word<Populate>{"all", Populate::kAll}};

/// A snapshot and the socket at which its VMs connect.
struct ServeEndpoint {
  std::string snapshot;
  std::string socket;
};

struct ServeOptions {
  /// Either these,
  std::vector<ServeEndpoint> endpoints;
  /// or the directory of a store: then all its VMs connect to one socket, and each is served what
  /// it was resumed from, which its pin (<store>/.vms/<pid>-<start time>) keeps. A process without
  /// a pin, or of another user than its pin names, is refused.
  /// Its sockets have fixed places: page_server_socket() and page_server_metrics_socket().
  std::string store;
  /// Of VMs whose pins do not say it; so is `record`.
  Populate populate = Populate::kNone;
  /// Notes what each VM touches first after its resume and stores it in the snapshot that it was
  /// resumed from, for Populate::kWorkingSet.
  bool record = false;
  /// Ends when the first VM has ended.
  bool once = false;
  std::uint32_t threads = 0;  ///< that serve; 0: as many as there are processors, at most 4
  /// Nothing: 0600, and 0666 for a store, whose socket stands in a private directory: only who is
  /// given a link to it can connect, and only who has a pin is served.
  std::optional<std::uint32_t> socket_mode;
  std::string socket_group;  ///< empty: the group of the process
  /// Who may connect, besides root and the own user. Has no meaning for a store.
  std::vector<std::uint32_t> allowed_users;
  /// Where the state of running VMs is kept: private, on tmpfs. Empty: a place is chosen. Servers
  /// of snapshots that share one take over each other's VMs when all processes of one are gone; a
  /// store has a place of its own in it.
  std::string state_directory;
  std::string metrics_socket;  ///< empty: none. Has no meaning for a store.
  /// The program and arguments that SIGHUP puts in this process' place. Empty: none.
  std::vector<std::string> restart_command;
  /// Told each thing worth a line, from the calling thread. May be empty.
  std::function<void(const std::string&)> log;
};

/// Serves until every VM has ended and a signal asked to stop (or `once` is over). The calling
/// process supervises: a child serves, and is succeeded at once when it is killed or crashes; no VM
/// notices more than a delay. VMs that an earlier process left are taken over first; those that
/// cannot be are killed.
///
/// Signals: SIGTERM and SIGINT stop: all memory of the VMs that run is filled, so that they need
/// nobody, then it ends; a second one ends it at once, and the VMs wait for the next start. SIGHUP
/// opens standard error anew when it is a file, and puts `restart_command` in this process' place
/// when a child has shown that it could serve what is served.
///
/// When the process is killed the serving process goes on in its place, until nobody needs it; it
/// ends by _exit(2).
///
/// A service manager that the environment names (sd_notify(3)) is told when VMs can connect, and
/// when it stops; its watchdog is fed.
///
/// Forks: call it from a process with one thread. Changes the signal mask of the process, and takes
/// $NOTIFY_SOCKET and $WATCHDOG_USEC out of its environment.
///
/// kBusy when the store has a page server already.
Status serve(const ServeOptions& options);

/// Where the VMs of a store connect: <store>/.vms/page-server.sock.
std::string page_server_socket(const std::string& store);

/// Where the page server of a store answers with its metrics: <store>/.vms/page-server.metrics.
std::string page_server_metrics_socket(const std::string& store);

/// Where laminad answers (docs/api.md) while it keeps the store: <store>/.vms/laminad.sock, a
/// symbolic link to the socket that it listens at. One that a killed daemon has left leads to a
/// socket where nobody listens, or in time to somebody else's: look who answers (SO_PEERCRED), and
/// name the store in each request (`store`), which a daemon of another store refuses with 421.
std::string daemon_socket(const std::string& store);

/// Who serves the VMs of a store.
enum class StoreServer : std::uint8_t {
  kNone,
  kSilent,  ///< it is starting, or was killed and is not quite gone: ask again
  kBusy,    ///< it listens, and has not answered within ten seconds
  kServes,  ///< it, or who takes its place just now, accepts VMs
};

/// Asks the store's page server whether it is there, at a socket that is for nothing else; waits
/// for its answer, at most ten seconds.
/// kNone also when nothing can be known about it. Thread-safe.
StoreServer find_store_server(const std::string& store);

/// The metrics (Prometheus text format) of a running page server, from its metrics socket.
Result<std::string> read_serve_metrics(const std::string& metrics_socket);

}  // namespace lamina
