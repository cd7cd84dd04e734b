// The key of what is packed or pushed, on the command line.
#pragma once

#include <string>

#include "cli/command_line.h"

namespace lamina::cli {

/// Adds --key-file and --key-command, of which one at most may be given. `what` is "encrypt" or
/// "decrypt".
template <typename Options>
void add_key_options(CLI::App* verb, Options& options, const std::string& what) {
  CLI::Option* file =
      add_text(verb, "--key-file", options.key_file, what + " with the key in FILE", "FILE");
  add_text(verb, "--key-command", options.key_command, what + " with a key that COMMAND wraps",
           "COMMAND")
      ->excludes(file);
}

}  // namespace lamina::cli
