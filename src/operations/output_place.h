// The place of a file or directory that an operation makes outside a store.
#pragma once

#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::operations {

struct OutputPlace {
  os::Fd directory;  ///< the one that it will be in
  std::string directory_path;
  std::string name;
};

/// Opens the directory in which `path` will be. `path` must not exist. `what` it is, for messages:
/// "a memory file". kUsage: `path` cannot name that; kNotFound: its directory; kExists.
Result<OutputPlace> open_output_place(const std::string& path, const char* what);

}  // namespace lamina::operations
