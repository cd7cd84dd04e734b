#include "sys/spawn.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "base/error.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): not every unistd.h has it

namespace lamina::sys {
namespace {

std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& variables) {
  std::vector<std::string> settings;
  settings.reserve(variables.size());
  for (const auto& [name, value] : variables) settings.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    // A shell takes the last of two.
    const bool is_replaced =
        std::any_of(variables.begin(), variables.end(),
                    [&](const auto& variable) { return text.starts_with(variable.first + "="); });
    if (!is_replaced) settings.emplace_back(text);
  }
  return settings;
}

/// As execve(2) wants it. `texts` must outlive it.
std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Result<pid_t> spawn(const SpawnRequest& request) {
  std::vector<std::string> words = request.words;
  std::vector<std::string> settings = environment_with(request.variables);
  const std::vector<char*> arguments = pointers_to(words);
  const std::vector<char*> environment = pointers_to(settings);

  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  if (request.company == Company::kOwnSession) {
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
  } else {
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  }
  ::posix_spawn_file_actions_adddup2(&actions, request.output, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, request.errors, STDERR_FILENO);
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, arguments.front(), &actions, &attributes,
                                   arguments.data(), environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return system_failure("spawn", request.words.front(), error);
  return child;
}

}  // namespace lamina::sys
