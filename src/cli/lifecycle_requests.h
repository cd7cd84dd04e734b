// What pause, resume and recover ask the daemon of a store for.
#pragma once

#include "cli/store_daemon.h"
#include "lamina/lifecycle.h"

namespace lamina::cli {

// Each asks for what the options say, and waits. Nothing when the verb must work by itself.

/// Never with a hook.
Asked<PauseReport> ask_to_pause(const PauseOptions& options, bool no_daemon, Progress& progress);
/// The daemon starts a page server by its own command.
Asked<ResumeReport> ask_to_resume(const ResumeOptions& options, bool no_daemon, Progress& progress);
Asked<RecoverReport> ask_to_recover(const RecoverOptions& options, bool no_daemon);

}  // namespace lamina::cli
