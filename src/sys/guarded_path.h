// Paths that lead through directories of other users.
//
// A symbolic link in a directory that somebody else can write to leads where that user wants at the
// moment, also into a third user's files, and between two looks at it its target may be exchanged.
// So a path is walked once, one part at a time, and what is done afterwards is done by the
// descriptor of the directory that it led to.
#pragma once

#include <string>

#include "lamina/result.h"
#include "sys/fd.h"

namespace lamina::sys {

/// Where a path leads: `name` in `directory`. The name need not exist and is no symbolic link.
struct GuardedPath {
  Fd directory;  ///< only names it (O_PATH): to read or sync the directory, open "." in it
  std::string name;
  std::string directory_path;  ///< absolute, without symbolic links when it was walked
  [[nodiscard]] std::string path() const {
    return directory_path == "/" ? "/" + name : directory_path + "/" + name;
  }
};

/// Walks `path`. Symbolic links are followed, the last part's too, but only those that nobody but
/// root and this process' user can have made or exchanged; any other is kFailed. A path that ends
/// in a slash, "." or ".." names no file: kUsage.
Result<GuardedPath> walk_guarded(const std::string& path);

/// Opens the directory `path` by the same rules.
Result<Fd> open_guarded_directory(const std::string& path);

}  // namespace lamina::sys
