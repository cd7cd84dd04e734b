// pause, resume, fork-live and recover by the daemon of a store.
#pragma once

#include "cli/store_daemon.h"
#include "lamina/lifecycle.h"
#include "lamina/live_fork.h"

namespace lamina::cli {

// Each sends the options to the store's daemon and waits for its reply. The reply is empty if the
// verb must do the work in its own process.

/// A pause with a hook is never sent: the hook keeps the caller's rights.
DaemonReply<PauseReport> request_pause(const PauseOptions& options, bool no_daemon,
                                       Progress& progress);
/// The daemon uses its own command to start a page server.
DaemonReply<ResumeReport> request_resume(const ResumeOptions& options, bool no_daemon,
                                         Progress& progress);
/// One with a hook is never sent, as a pause. Nor are devices that are the same for all clones.
DaemonReply<LiveForkReport> request_live_fork(const LiveForkOptions& options, bool no_daemon,
                                              Progress& progress);
DaemonReply<RecoverReport> request_recover(const RecoverOptions& options, bool no_daemon);

/// The command that starts the page server of a store.
std::vector<std::string> page_server_command(const std::string& store);

}  // namespace lamina::cli
