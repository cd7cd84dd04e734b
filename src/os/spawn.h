// Starting programs. What they begin with does not depend on what this process has inherited or
// changed for itself: every signal has its default action and none is blocked, and no descriptor is
// open but 0, 1 and 2. This process may be a program that embeds the library: nothing of it is
// changed, and neither its action for SIGCHLD nor a thread of it that waits for any child matters.
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
  std::vector<std::string> words;  ///< program (looked for in $PATH) and arguments
  /// Added to the environment, in place of variables of the same names.
  std::vector<std::pair<std::string, std::string>> variables;
  int output = -1;  ///< becomes its standard output; not open: /dev/null
  int errors = -1;  ///< becomes its standard error; not open: /dev/null
  int extra = -1;   ///< becomes its descriptor 3; -1: none
};

/// Starts a child in a process group of its own. It keeps this process' standard input (/dev/null
/// when that is closed), working directory, umask, limits and priority. The caller reaps it. Waits
/// until the program runs; an error when it cannot. A missing program is kFailed: kNotFound is for
/// objects that the caller asked for.
Result<pid_t> spawn_child(const SpawnRequest& request);

/// A process that is not a child of this one.
struct DetachedProcess {
  pid_t pid = -1;
  Fd pidfd;
};

/// Starts a service that outlives this process: not its child, in a session of its own, with
/// /dev/null as standard input. It begins as a service manager would start it, whatever this
/// process is: umask 0077, a nice value of at most 0 and the normal scheduling and I/O class where
/// that may be set, an oom_score_adj of at most 0, no limits of processor time, file size and
/// address space (else the hard limits), and without the variables of a service manager that are
/// meant for this process. The working directory stays, because arguments may be relative to it:
/// the service leaves it. CPU affinity, control groups and namespaces stay too.
Result<DetachedProcess> spawn_detached(const SpawnRequest& request);

}  // namespace lamina::os
