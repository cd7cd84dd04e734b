// Normalizes the state that a process inherits from its parent: ignored and blocked signals, closed
// or additional descriptors, the umask, limits. lamina's behaviour must not depend on these.
//
// For main() of lamina's own programs only: the library never changes its process. All functions
// REQUIRE that the process has one thread.
#pragma once

#include <cstdint>

namespace lamina::os {

/// To be called first by every program:
/// - Opens descriptors 0 to 2 if they are closed, so that no other file gets these numbers: 0 and 2
///   as /dev/null. Writing to standard output still fails, so that output is not lost silently.
/// - Restores default signal actions, except that SIGPIPE and SIGXFSZ are ignored (the write fails
///   instead). SIGHUP, SIGINT, SIGQUIT, SIGTERM and the job control signals stay ignored if they
///   are: nohup(1) and shells rely on this.
/// - Unblocks all signals except SIGHUP, SIGINT, SIGTERM and SIGCHLD, which are unchanged until
///   unblock_signals(): a signal that is pending across an exec must not kill the successor.
/// - Lets the owner read and write created files, whatever the umask.
/// - Raises the soft limit of open files to the hard limit, because each layer of a chain and each
///   client uses a descriptor.
void begin_program();

/// Unblocks the signals that begin_program() has left. To be called once the program has installed
/// its handlers, if any.
void unblock_signals();

/// For services, after begin_program():
/// - Restores the default actions of SIGHUP, SIGINT, SIGQUIT, SIGTERM and the job control signals,
///   and blocks the four signals of unblock_signals() until it is called.
/// - Opens standard output as /dev/null if it was closed.
/// - Closes all descriptors above 2, except those passed by a service manager ($LISTEN_FDS,
///   $LISTEN_PID), which are set to close on exec, and those inherited from a predecessor that
///   became this process by exec ($LAMINA_HANDOVER_FD).
void begin_service();

/// Set in the environment of a process that inherits its predecessor's descriptors by exec. The
/// value is fixed: predecessor and successor may be of different versions.
inline constexpr const char* kHandoverVariable = "LAMINA_HANDOVER_FD";

/// The soft limit of open files with which the program was started, for its child processes. 0 if
/// begin_program() has not raised it.
std::uint64_t inherited_open_file_limit();

}  // namespace lamina::os
