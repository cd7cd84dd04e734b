// Serving guest memory by page faults: the page server that Firecracker connects to.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lamina/result.h"

namespace lamina {

/// What is filled without a fault asking for it.
enum class Populate : std::uint8_t {
  kNone,
  kWorkingSet,  ///< the blocks that a recorded resume touched first, in that order
  kAll,         ///< those, then all of the rest
};

/// A snapshot and the socket at which its VMs connect.
struct ServeEndpoint {
  std::string snapshot;
  std::string socket;
};

struct ServeOptions {
  std::vector<ServeEndpoint> endpoints;
  Populate populate = Populate::kNone;
  /// Notes what each VM touches first after its resume and stores it beside the snapshot, for
  /// Populate::kWorkingSet.
  bool record = false;
  /// Ends when the first VM has ended.
  bool once = false;
  std::uint32_t threads = 0;  ///< that serve; 0: as many as there are processors, at most 4
  std::uint32_t socket_mode = 0600;
  std::string socket_group;                  ///< empty: the group of the process
  std::vector<std::uint32_t> allowed_users;  ///< who may connect, besides root and the own user
  /// Where the state of running VMs is kept: private, on tmpfs. Empty: a place is chosen.
  std::string state_directory;
  std::string metrics_socket;  ///< empty: none
  /// The program and arguments that go on when this process is replaced (SIGHUP) or killed. Empty:
  /// nobody does until the next start.
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
/// puts a new process of `restart_command` in this one's place.
///
/// Forks: call it from a process with one thread. Changes the signal mask of the process.
Status serve(const ServeOptions& options);

/// The metrics (Prometheus text format) of a running page server, from its metrics socket.
Result<std::string> read_serve_metrics(const std::string& metrics_socket);

}  // namespace lamina
