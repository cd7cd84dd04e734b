// Completion scripts for shells. They complete verbs, options, the words of an option, files and
// directories, and names of snapshots: the directories in the store that the command line names.
// (lamina is not started for that.)
#pragma once

#include <string>

#include "manual/program.h"

namespace lamina::manual {

/// For bash 4.4 or newer. The package bash-completion loads the script; it uses nothing of it.
std::string bash_completion(const Program& program);

/// For zsh's completion system. The file must be named _PROGRAM.
std::string zsh_completion(const Program& program);

/// For fish 3.
std::string fish_completion(const Program& program);

}  // namespace lamina::manual
