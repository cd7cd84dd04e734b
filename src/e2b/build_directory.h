// Builds in a directory: DIR/<build id>/<name>.
#pragma once

#include <memory>
#include <string>

#include "e2b/object_source.h"
#include "lamina/result.h"

namespace lamina::e2b {

/// Symbolic links below the directory are not followed. kNotFound: there is no such directory.
Result<std::unique_ptr<ObjectSource>> open_build_directory(const std::string& path);

}  // namespace lamina::e2b
