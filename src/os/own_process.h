// What this process has inherited from its starter, put right at its start. A program begins with
// what any ancestor has left: ignored and blocked signals, closed or additional descriptors, a
// umask, limits. None of it may decide what lamina does.
//
// For main() of our own programs only: the library never changes the process that it is used in.
// REQUIRES, everywhere here: one thread.
#pragma once

#include <cstdint>

namespace lamina::os {

/// For every program, first of all:
/// - descriptors 0 to 2 that are closed are opened, so that no file of ours gets their numbers.
///   /dev/null is standard input and standard error; writing to standard output still fails, so
///   that a result is not lost silently;
/// - signals have their default action, but SIGPIPE and SIGXFSZ are ignored (a write fails
/// instead).
///   SIGHUP, SIGINT, SIGQUIT, SIGTERM and those of job control stay ignored if they are: nohup(1)
///   and shells mean it so;
/// - no signal is blocked, but SIGHUP, SIGINT, SIGTERM and SIGCHLD stay as they are until
///   unblock_signals(): one that is pending over an exec of ours must not kill the successor;
/// - files that are made can be read and written by their owner, whatever the umask;
/// - the soft limit of open files is raised to the hard one: each layer of a chain, and each
/// client,
///   is a descriptor.
void begin_program();

/// Unblocks what begin_program() has left: for a program without handlers of its own, or once it
/// has them.
void unblock_signals();

/// The same for a service, after begin_program(): also SIGHUP, SIGINT, SIGQUIT, SIGTERM and those
/// of job control have their default action, and standard output that was closed is /dev/null. The
/// four of unblock_signals() are blocked until it is called. All descriptors above 2 are closed,
/// but those that a service manager passed ($LISTEN_FDS, $LISTEN_PID), which are closed on exec.
/// Those of a predecessor that became this process by exec ($LAMINA_ESTATE_FD) stay, too.
void begin_service();

/// In the environment of a process that was exec'ed with its predecessor's descriptors.
inline constexpr const char* kInheritedStateVariable = "LAMINA_ESTATE_FD";

/// The soft limit of open files that the program was started with: for the programs that it starts.
/// 0 when begin_program() has not raised it.
std::uint64_t inherited_open_file_limit();

}  // namespace lamina::os
