// The file system as seen by another process: its root directory and mounts.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Root directory of a process; invalid if it may not be examined or has ended.
Fd root_of(pid_t pid);

enum class SeenLinks : std::uint8_t { kFollowed, kRefused };

/// Opens a path with O_PATH as a process with this root directory would resolve it; links cannot
/// lead out of the root. On failure the result is invalid and errno is set.
Fd open_as_seen(const Fd& root, const std::string& path, SeenLinks links);

/// Creates a bind mount in the mount namespace of another process.
class MountTarget {
 public:
  /// Prepares a detached bind mount of `source`.
  static Result<MountTarget> open(pid_t pid, const std::string& source);

  /// Mounts it on `target`, a file in the mount namespace of the process. Uses a separate thread,
  /// because a thread that has left our mount namespace does not return to it.
  [[nodiscard]] Status attach(const Fd& target) const;

 private:
  MountTarget(Fd mount_namespace, Fd tree)
      : mount_namespace_(std::move(mount_namespace)), tree_(std::move(tree)) {}

  Fd mount_namespace_;
  Fd tree_;
};

}  // namespace lamina::os
