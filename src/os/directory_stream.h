// Reading a directory entry by entry.
#pragma once

#include <dirent.h>

#include <cerrno>
#include <memory>
#include <string>

#include "base/error.h"
#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

struct CloseDirectory {
  void operator()(DIR* stream) const { ::closedir(stream); }
};
using DirectoryStream = std::unique_ptr<DIR, CloseDirectory>;

/// Takes over `directory` and reads it from its current position. `object` names it in errors.
inline Result<DirectoryStream> read_directory(Fd directory, const std::string& object) {
  DirectoryStream stream(::fdopendir(directory.get()));
  if (!stream) return system_failure("opendir", object, errno);
  directory.release();
  return stream;
}

}  // namespace lamina::os
