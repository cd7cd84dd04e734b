#include "lifecycle/hook.h"

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
#include "os/long_wait.h"
#include "os/own_process.h"
#include "os/process.h"
#include "os/spawn.h"

namespace lamina::lifecycle {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// Runs its first argument in a subshell, and writes the exit code to descriptor 3. The second
/// argument, if any, is the soft limit on open files.
constexpr const char* kShellProgram =
    R"(lamina_hook=$1; test -z "$2" || ulimit -S -n "$2"; set --
(eval "$lamina_hook") 3>&-; echo $? >&3)";
/// A shell adds this to the number of the signal that has ended a program.
constexpr int kSignalled = 128;

enum class Wait { kReceived, kTimedOut };

/// Reads until the other end is closed or the time has passed.
Result<Wait> read_until(int pipe, Clock::time_point deadline, std::string& said) {
  while (true) {
    const auto left = std::chrono::ceil<Milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return Wait::kTimedOut;
    pollfd waiting{pipe, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) return system_failure("poll", "hook", errno);
    if (ready <= 0) continue;
    std::array<char, 16> piece{};
    const ssize_t count = ::read(pipe, piece.data(), piece.size());
    if (count < 0 && errno != EINTR) return system_failure("read", "hook", errno);
    if (count > 0) said.append(piece.data(), static_cast<std::size_t>(count));
    if (count == 0 || said.ends_with('\n')) return Wait::kReceived;
  }
}

/// Its exit code; nullopt if it was killed before it could report one.
std::optional<int> exit_code_in(std::string_view said) {
  int code = 0;
  const auto [end, error] = std::from_chars(said.data(), said.data() + said.size(), code);
  if (error != std::errc() || end == said.data() + said.size() || *end != '\n') return std::nullopt;
  return code;
}

/// Waits for a short time only: a tracer may hold the process at its exit, or another thread may
/// have waited for it, and the VM is frozen meanwhile.
void reap(pid_t child) {
  constexpr Milliseconds kLongest{1000};
  const auto pidfd = os::open_process(child);
  if (pidfd && !os::wait_for_end(pidfd->get(), kLongest).value_or(false)) return;
  static_cast<void>(::waitpid(child, nullptr, WNOHANG));
}

}  // namespace

Status run_hook(const std::string& command,
                const std::vector<std::pair<std::string, std::string>>& variables,
                Milliseconds timeout) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return system_failure("pipe", command, errno);
  const os::Fd reading(ends[0]);
  os::Fd writing(ends[1]);
  const std::uint64_t open_files = os::inherited_open_file_limit();
  os::SpawnRequest request;
  request.words = {"/bin/sh", "-c",    kShellProgram,
                   "/bin/sh", command, open_files == 0 ? "" : std::to_string(open_files)};
  request.variables = variables;
  request.output = STDERR_FILENO;
  request.errors = STDERR_FILENO;
  request.extra = writing.get();
  const Clock::time_point deadline = Clock::now() + timeout;
  LAMINA_ASSIGN_OR_RETURN(const pid_t child, os::spawn_child(request));
  writing.reset();
  const os::LongWait waiting;
  std::string said;
  const auto waited = read_until(reading.get(), deadline, said);
  if (!waited || *waited == Wait::kTimedOut) ::kill(-child, SIGKILL);
  reap(child);
  if (!waited) return std::unexpected(waited.error());
  if (*waited == Wait::kTimedOut) {
    return fail(ErrorKind::kFailed, "the hook '{}' took more than {} ms and was killed", command,
                timeout.count());
  }
  const std::optional<int> code = exit_code_in(said);
  if (code == 0) return {};
  if (!code) return fail(ErrorKind::kFailed, "the hook '{}' was killed", command);
  const bool by_signal = *code > kSignalled;
  return fail(ErrorKind::kFailed, "the hook '{}' {} {}", command,
              by_signal ? "was ended by signal" : "ended with",
              by_signal ? *code - kSignalled : *code);
}

}  // namespace lamina::lifecycle
