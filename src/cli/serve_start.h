// What a page server leaves of its starter's surroundings before it serves.
#pragma once

#include <string>
#include <vector>

#include "lamina/serve.h"

namespace lamina::cli {

/// Makes the paths of `options` absolute and goes to the directory /, so that no mount is kept busy
/// by where the command was run. `command`, which starts this program anew, is made so, too. Stays
/// where it is when the directory cannot be reached by its path.
void leave_working_directory(ServeOptions& options, std::vector<std::string>& command);

}  // namespace lamina::cli
