// Which files the VM's process sees. It may have another root directory (a jail), another mount
// namespace, or both; the path that it is given must lead to the intended file.
#pragma once

#include <sys/types.h>

#include <string>

#include "lamina/result.h"

namespace lamina::lifecycle {

/// A file by both of its paths.
struct SharedFile {
  std::string our_path;  ///< absolute
  std::string vmm_path;  ///< absolute, as the VM's process sees it
};

/// False if process `pid` finds another file at its path than this process at ours, or none. True
/// also if that cannot be checked, which needs ptrace rights over the process. kFailed if this
/// process has no descriptor left to look with.
Result<bool> finds_same_file(pid_t pid, const SharedFile& file);

/// True if process `pid` is certain to find the same file. False also if that cannot be checked.
bool is_found_by(pid_t pid, const SharedFile& file);

/// kFailed if finds_same_file() is false or fails.
Status check_finds(pid_t pid, const SharedFile& file);

/// kFailed if the process does not find the store at `path` (absolute, without links): it is in a
/// jail that the caller has not named. REQUIRES: no jail was named.
Status check_finds_store(pid_t pid, const std::string& path);

/// Makes sure that the process finds the socket `source` (our path) at `file`, where it has a
/// second name. If our bind mount is not visible in the process' mount namespace, mounts the socket
/// there. The error's remedy says what else can be done.
Status make_socket_visible(pid_t pid, const std::string& source, const SharedFile& file);

}  // namespace lamina::lifecycle
