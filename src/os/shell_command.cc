#include "os/shell_command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "os/file.h"
#include "os/long_wait.h"
#include "os/process.h"
#include "os/spawn.h"

namespace lamina::os {
namespace {

using Milliseconds = std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

/// Runs its first argument in a subshell, and writes the exit code to descriptor 3.
constexpr const char* kExitCodeProgram =
    R"(lamina_command=$1; set --
(eval "$lamina_command") 3>&-; echo $? >&3)";

/// What the pipe says until its other end is closed or a line is complete; nullopt after the time.
Result<std::optional<std::string>> read_line_until(int pipe, SteadyClock::time_point deadline) {
  std::string said;
  while (true) {
    const auto left = std::chrono::ceil<Milliseconds>(deadline - SteadyClock::now());
    if (left.count() <= 0) return std::nullopt;
    pollfd waiting{pipe, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) return system_failure("poll", "a command's pipe", errno);
    if (ready <= 0) continue;
    std::array<char, 16> piece{};
    const ssize_t count = ::read(pipe, piece.data(), piece.size());
    if (count < 0 && errno != EINTR) return system_failure("read", "a command's pipe", errno);
    if (count > 0) said.append(piece.data(), static_cast<std::size_t>(count));
    if (count == 0 || said.ends_with('\n')) return std::optional(std::move(said));
  }
}

/// Does not wait for long: another thread may have waited for the process, or a tracer holds it.
void reap_command(pid_t child) {
  constexpr Milliseconds kLongest{1000};
  const auto pidfd = open_process(child);
  if (pidfd && !wait_for_end(pidfd->get(), kLongest).value_or(false)) return;
  static_cast<void>(::waitpid(child, nullptr, WNOHANG));
}

Status check_exit(const ShellCommand& command, const std::optional<std::string>& said) {
  if (!said) {
    return fail(ErrorKind::kFailed, "the command '{}' took more than {} ms and was killed",
                command.command, command.timeout.count());
  }
  int code = 0;
  const auto [end, error] = std::from_chars(said->data(), said->data() + said->size(), code);
  if (error != std::errc() || end == said->data() + said->size() || *end != '\n') {
    return fail(ErrorKind::kFailed, "the command '{}' was killed", command.command);
  }
  if (code == 0) return {};
  return fail(ErrorKind::kFailed, "the command '{}' ended with {}", command.command, code);
}

}  // namespace

Result<std::vector<std::byte>> run_shell_command(const ShellCommand& command) {
  const std::string object = fmt::format("the files of '{}'", command.command);
  LAMINA_ASSIGN_OR_RETURN(const Fd input, make_memory_file("lamina-command-input"));
  LAMINA_ASSIGN_OR_RETURN(const Fd output, make_memory_file("lamina-command-output"));
  LAMINA_RETURN_IF_ERROR(write_at(input.get(), command.input, 0, object));
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return system_failure("pipe", command.command, errno);
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  SpawnRequest request;
  request.words = {"/bin/sh", "-c", kExitCodeProgram, "/bin/sh", command.command};
  request.variables = command.variables;
  request.input = input.get();
  request.output = output.get();
  request.errors = STDERR_FILENO;
  request.extra = writing.get();
  const auto deadline = SteadyClock::now() + command.timeout;
  LAMINA_ASSIGN_OR_RETURN(const pid_t child, spawn_child(request));
  writing.reset();
  const LongWait waiting;
  const auto said = read_line_until(reading.get(), deadline);
  if (!said || !*said) ::kill(-child, SIGKILL);
  reap_command(child);
  if (!said) return std::unexpected(said.error());
  LAMINA_RETURN_IF_ERROR(check_exit(command, *said));
  LAMINA_ASSIGN_OR_RETURN(const FileFacts facts, facts_of(output.get(), object));
  if (facts.size_bytes > command.max_output_bytes) {
    return fail(ErrorKind::kFailed, "the command '{}' wrote {} bytes; at most {} are expected",
                command.command, facts.size_bytes, command.max_output_bytes);
  }
  return read_whole(output.get(), command.max_output_bytes, object);
}

}  // namespace lamina::os
