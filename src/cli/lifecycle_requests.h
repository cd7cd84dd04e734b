// What pause, resume and recover ask the daemon of a store for.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/store_daemon.h"
#include "lamina/lifecycle.h"

namespace lamina::cli {

/// The words of an option and of a request, and what they mean.
template <typename T>
using Words = std::vector<std::pair<std::string, T>>;
const Words<AfterPause>& after_words();
const Words<ResumeMode>& mode_words();
const Words<Populate>& populate_words();
const Words<HugePages>& huge_pages_words();

// Each asks for what the options say, and waits. Nothing when the verb must work by itself.

/// Never with a hook.
Asked<PauseReport> ask_to_pause(const PauseOptions& options, bool no_daemon, Progress& progress);
/// The daemon starts a page server by its own command.
Asked<ResumeReport> ask_to_resume(const ResumeOptions& options, bool no_daemon, Progress& progress);
Asked<RecoverReport> ask_to_recover(const RecoverOptions& options, bool no_daemon);

}  // namespace lamina::cli
