// The verbs that use src/ui/; see command_line.h.
#pragma once

#include "cli/command_line.h"

namespace lamina::cli {

Action add_ui(CLI::App& app);
Action add_report(CLI::App& app);
Action add_top(CLI::App& app);

}  // namespace lamina::cli
