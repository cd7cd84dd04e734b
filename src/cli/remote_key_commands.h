// The verbs that deal with the keys of a bucket.
#pragma once

#include "cli/command_line.h"

namespace lamina::cli {

Action add_remote_keys_ls(CLI::App& app);
Action add_remote_keys_rotate(CLI::App& app);
Action add_remote_keys_destroy(CLI::App& app);

}  // namespace lamina::cli
