// The user's command that runs while the VM is frozen.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "lamina/result.h"

namespace lamina::lifecycle {

/// Runs `command` with sh(1), with `variables` added to the environment and its standard output
/// redirected to our standard error, and waits for it. After `timeout` its process group is killed.
/// kFailed unless it exits with 0. Its initial state is that of os::spawn_child(), except that its
/// soft limit on open files is the one that this program was started with.
///
/// The exit code comes through a pipe, so this also works in a program that ignores SIGCHLD or has
/// a thread that waits for every child.
Status run_hook(const std::string& command,
                const std::vector<std::pair<std::string, std::string>>& variables,
                std::chrono::milliseconds timeout);

}  // namespace lamina::lifecycle
