// A command of the user's that runs while the VM is frozen.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "lamina/result.h"

namespace lamina::lifecycle {

/// Runs `command` by the shell with `variables` in the environment, its standard output on our
/// standard error, and waits for it: `timeout` at most, then it is killed with all of its process
/// group. kFailed when it does not end with 0. See os::spawn_child() for what it begins with; its
/// soft limit of open files is that which this program was started with.
///
/// Its exit code comes through a pipe: a program that ignores SIGCHLD, or has a thread that waits
/// for every child, loses nothing.
Status run_hook(const std::string& command,
                const std::vector<std::pair<std::string, std::string>>& variables,
                std::chrono::milliseconds timeout);

}  // namespace lamina::lifecycle
