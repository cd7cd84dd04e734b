// Makes a page server independent of the working directory that it was started in.
#pragma once

#include <string>
#include <vector>

#include "lamina/serve.h"

namespace lamina::cli {

/// Makes the paths in `options` and in `command` absolute, and changes to the directory /, so that
/// the process does not keep a mount busy. `command` is the command line that restarts this
/// program. Does nothing if the working directory cannot be reached by its path.
void leave_working_directory(ServeOptions& options, std::vector<std::string>& command);

}  // namespace lamina::cli
