// Completion scripts for shells: verbs, options, the words that an option takes, files and
// directories where a path belongs, and names of snapshots (the directories in the store that the
// line names; lamina is not started for that).
#pragma once

#include <string>

#include "manual/program.h"

namespace lamina::manual {

/// For bash 4.4 or newer; needs nothing of the package bash-completion, which loads it.
std::string bash_completion(const Program& program);

/// For zsh's completion system; the file is called _PROGRAM.
std::string zsh_completion(const Program& program);

/// For fish 3.
std::string fish_completion(const Program& program);

}  // namespace lamina::manual
