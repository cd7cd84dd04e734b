// Runs a user's shell command as a function: bytes in, bytes out.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lamina/result.h"

namespace lamina::os {

struct ShellCommand {
  std::string command;  ///< for sh(1)
  /// Added to the environment.
  std::vector<std::pair<std::string, std::string>> variables{};
  std::span<const std::byte> input{};   ///< its standard input
  std::uint64_t max_output_bytes = 0;   ///< more is an error
  std::chrono::milliseconds timeout{};  ///< then its process group is killed
};

/// Runs the command, waits for it, and returns its standard output. Its standard error is that of
/// this process; for the rest, its initial state is that of spawn_child(). kFailed unless it exits
/// with 0 in time. Input and output are never in a file on a disk.
///
/// The exit code comes through a pipe, so this also works in a program that ignores SIGCHLD or has
/// a thread that waits for every child.
Result<std::vector<std::byte>> run_shell_command(const ShellCommand& command);

}  // namespace lamina::os
