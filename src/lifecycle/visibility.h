// What the VM's process sees. It may have another root directory (a jail), another mount namespace,
// or both; a path that it is told must lead it to the very file that is meant.
#pragma once

#include <sys/types.h>

#include <string>

#include "lamina/result.h"

namespace lamina::lifecycle {

/// A file by both of its names.
struct SharedFile {
  std::string our_path;  ///< absolute
  std::string vmm_path;  ///< absolute, as the VM's process is told
};

/// False when process `pid` finds something else at its path than we at ours, or nothing. True also
/// where that cannot be looked at, which needs the rights of ptrace over the process.
bool finds_same_file(pid_t pid, const SharedFile& file);

/// kFailed when finds_same_file() is false.
Status check_finds(pid_t pid, const SharedFile& file);

/// kFailed when the process does not find the store `path` (absolute, without links) at this path:
/// it is in a jail, and --jail was not given. REQUIRES: --jail was not given.
Status check_finds_store(pid_t pid, const std::string& path);

/// Makes the process find the socket `source` (as we see it) at `file`, where we have given it a
/// name. Where a bind mount of ours is not seen in its mount namespace, the socket is mounted in
/// there. kFailed says what else can be done.
Status make_socket_seen(pid_t pid, const std::string& source, const SharedFile& file);

}  // namespace lamina::lifecycle
