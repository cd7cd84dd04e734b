// The file system as another process sees it: its root directory and its mounts.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// The root directory of a process; not valid when it may not be looked at, or has ended.
Fd root_of(pid_t pid);

enum class SeenLinks : std::uint8_t { kFollowed, kRefused };

/// Opens a path as a process with this root sees it, as a place only (O_PATH): links lead where
/// they lead it, none leads out of its root. errno tells why it is not valid.
Fd open_as_seen(const Fd& root, const std::string& path, SeenLinks links);

/// A mount of ours, to be made in the mount namespace of another process.
class MountTarget {
 public:
  /// Takes a detached copy of what is mounted, or stands, at `source`.
  static Result<MountTarget> open(pid_t pid, const std::string& source);

  /// Mounts it on `target`, a file in the mount namespace of the process. In a thread of its own,
  /// because that leaves ours for good.
  [[nodiscard]] Status attach(const Fd& target) const;

 private:
  MountTarget(Fd mount_namespace, Fd tree)
      : mount_namespace_(std::move(mount_namespace)), tree_(std::move(tree)) {}

  Fd mount_namespace_;
  Fd tree_;
};

}  // namespace lamina::os
