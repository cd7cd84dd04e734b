// Starting a program.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lamina/result.h"

namespace lamina::sys {

/// Whom a started program is with: what ends its starter's does not end it.
enum class Company : std::uint8_t {
  kOwnGroup,    ///< a process group of its own
  kOwnSession,  ///< a session of its own, no terminal, no input, no blocked signals
};

struct SpawnRequest {
  std::vector<std::string> words;  ///< program (looked for in $PATH) and arguments
  /// Added to the environment, in the place of those of the same names.
  std::vector<std::pair<std::string, std::string>> variables;
  int output = -1;  ///< becomes its standard output
  int errors = -1;  ///< becomes its standard error
  Company company = Company::kOwnGroup;
};

/// posix_spawnp(3). The caller waits for the process.
Result<pid_t> spawn(const SpawnRequest& request);

}  // namespace lamina::sys
