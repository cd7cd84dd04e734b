// Opening paths without following symbolic links that another user may have created.
//
// There are two kinds of paths.
//
// *Below an open directory* (a store, a snapshot, a jail) every name was chosen by lamina or read
// from a file, and none needs to be a link: symbolic links, "..", and absolute names are refused.
//
// *A path from the user* may contain links. They are followed only if no users other than root and
// the current user can have created or exchanged them. From the first directory on that belongs to
// another user, no link is followed. In a directory that others may write to, only links that
// belong to root or the current user are followed, and only if the directory is sticky (/tmp) or
// only the user's group may write to it. The kernel's fs.protected_symlinks does the same for
// sticky directories only. Links in /proc are the kernel's own and are followed.
//
// A file with several hard links in another user's directory must belong to that directory's owner:
// otherwise that user may have linked it there to have it read.
#pragma once

#include <sys/types.h>

#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// openat(2) of `name` below `directory`; `name` may have several components. Fails (kFailed) at a
/// symbolic link, unless it is the last component and the flags are O_PATH | O_NOFOLLOW: that opens
/// the link itself.
Result<Fd> open_below(int directory, const std::string& name, int flags, mode_t mode,
                      const std::string& object);

/// open(2) of a path from the user.
Result<Fd> open_user_path(const std::string& path, int flags, mode_t mode,
                          const std::string& object);

/// Where a path from the user leads: `name` in `directory`. Later operations use the descriptor,
/// because another user may exchange a directory on the path between two walks.
struct ResolvedPath {
  Fd directory;  ///< O_PATH; to read or sync the directory, open "." in it
  std::string name;
  std::string directory_path;  ///< absolute; without symbolic links at the time of the walk
  [[nodiscard]] std::string path() const {
    return directory_path == "/" ? "/" + name : directory_path + "/" + name;
  }
};

/// Resolves a path by the rules of open_user_path(), including a link in the last component. The
/// last component need not exist. kUsage if the path ends in a slash, "." or "..".
Result<ResolvedPath> resolve_user_path(const std::string& path);

/// kFailed if `file`, opened by the user's path `path`, has several hard links, is in another
/// user's directory, and belongs to a third user.
Status check_hard_links(int file, const std::string& path);

/// `path`, absolute and without symbolic links (realpath(3)). kFailed at a link that may not be
/// followed.
Result<std::string> real_path(const std::string& path);

/// The directory part of `path`: "/" for "/x", "." for "x".
std::string parent_of(const std::string& path);

}  // namespace lamina::os
