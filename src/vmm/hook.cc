#include "vmm/hook.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "base/error.h"
#include "sys/process.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): not every unistd.h has it

namespace lamina::vmm {
namespace {

bool ended_within(pid_t child, std::chrono::milliseconds timeout) {
  const auto pidfd = sys::open_process(child);
  if (!pidfd) return true;  // waited for without a limit
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd end{pidfd->get(), POLLIN, 0};
    if (::poll(&end, 1, static_cast<int>(left.count())) > 0) return true;
  }
}

}  // namespace

Status run_hook(const std::string& command,
                const std::vector<std::pair<std::string, std::string>>& variables,
                std::chrono::milliseconds timeout) {
  std::vector<std::string> settings;
  settings.reserve(variables.size());
  for (const auto& [name, value] : variables) settings.push_back(name + "=" + value);
  std::vector<char*> environment;
  environment.reserve(settings.size());
  for (std::string& setting : settings) environment.push_back(setting.data());
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool is_ours = std::any_of(variables.begin(), variables.end(), [&](const auto& variable) {
      return text.starts_with(variable.first + "=");
    });
    if (!is_ours) environment.push_back(*entry);
  }
  environment.push_back(nullptr);

  std::string shell = "/bin/sh";
  std::string option = "-c";
  std::string text = command;
  std::array<char*, 4> arguments{shell.data(), option.data(), text.data(), nullptr};
  posix_spawn_file_actions_t actions{};
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  posix_spawnattr_t attributes{};
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t child = -1;
  const int error = ::posix_spawn(&child, shell.c_str(), &actions, &attributes, arguments.data(),
                                  environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return system_failure("spawn", shell, error);
  const bool in_time = ended_within(child, timeout);
  if (!in_time) ::kill(-child, SIGKILL);
  int state = 0;
  while (::waitpid(child, &state, 0) < 0) {
    if (errno != EINTR) return system_failure("waitpid", command, errno);
  }
  if (!in_time) {
    return fail(ErrorKind::kFailed, "the hook '{}' took more than {} ms and was killed", command,
                timeout.count());
  }
  if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return {};
  return fail(ErrorKind::kFailed, "the hook '{}' {} {}", command,
              WIFEXITED(state) ? "ended with" : "was ended by signal",
              WIFEXITED(state) ? WEXITSTATUS(state) : WTERMSIG(state));
}

}  // namespace lamina::vmm
