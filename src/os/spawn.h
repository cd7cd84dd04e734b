// Starting programs. Their initial state does not depend on that of this process: all signals have
// their default action and are unblocked, and only descriptors 0, 1 and 2 are open. This process
// may be a program that embeds the library: its state is not changed, and its SIGCHLD action and
// threads that wait for any child do not interfere.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// A program to start.
struct SpawnRequest {
  std::vector<std::string> words;  ///< program (searched in $PATH) and arguments
  /// Added to the environment; they replace variables of the same name.
  std::vector<std::pair<std::string, std::string>> variables;
  int input = -1;   ///< becomes standard input; -1: that of this process
  int output = -1;  ///< becomes standard output; /dev/null if not open
  int errors = -1;  ///< becomes standard error; /dev/null if not open
  int extra = -1;   ///< becomes descriptor 3; -1: none
};

/// Starts a child in its own process group. It inherits standard input (/dev/null if closed) unless
/// the request has one, working directory, umask, limits and priority. The caller reaps it. Waits
/// until the program runs; fails if it cannot be run. A missing program is kFailed, because
/// kNotFound is for objects that the caller asked for.
Result<pid_t> spawn_child(const SpawnRequest& request);

/// A process that is not a child of this one.
struct DetachedProcess {
  pid_t pid = -1;
  Fd pidfd;
};

/// Starts a service that outlives this process: it is not a child, has its own session, and
/// /dev/null as standard input. It starts in the state that a service manager would provide: umask
/// 0077; a nice value of at most 0 and the normal scheduling and I/O class, if permitted; an
/// oom_score_adj of at most 0; no limits on CPU time, file size and address space (or the hard
/// limits); and without the variables that a service manager set for this process. It inherits the
/// working directory, because arguments may be relative to it, and should change it. It also
/// inherits CPU affinity, control groups and namespaces.
Result<DetachedProcess> spawn_detached(const SpawnRequest& request);

}  // namespace lamina::os
