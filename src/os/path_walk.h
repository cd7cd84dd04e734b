// From a path to a descriptor, without being led astray by links that somebody else has made.
//
// There are two kinds of paths.
//
// *Below a directory that is open* (a store, a snapshot, a jail, an area) every name was chosen by
// lamina or read from a file, and nothing there has to be a link: no symbolic link is followed, no
// name leads up, none is absolute.
//
// *A path that the caller gave* may lead through links. They are followed only if root and the
// caller are the only users that can have made or exchanged them. From the first directory on that
// belongs to another user, no link is followed; in a directory that others may write to, only links
// that belong to root or to the caller, and only if the directory is sticky (/tmp) or only the
// caller's group may write to it. The kernel's fs.protected_symlinks is the same idea, for sticky
// directories only. Links of /proc are the kernel's own, and are followed.
//
// A file with several names in somebody else's directory must belong to that directory's owner:
// else the owner could have linked it there to have it read.
#pragma once

#include <sys/types.h>

#include <string>

#include "lamina/result.h"
#include "os/fd.h"
#include "os/path_walk.h"

namespace lamina::os {

/// openat(2) of `name` below `directory`, which may have several components. A symbolic link is
/// kFailed, except in the last place with O_PATH | O_NOFOLLOW: that opens the link itself.
Result<Fd> open_below(int directory, const std::string& name, int flags, mode_t mode,
                      const std::string& object);

/// open(2) of a path that the caller gave.
Result<Fd> open_given(const std::string& path, int flags, mode_t mode, const std::string& object);

/// Where a path that the caller gave leads: `name` in `directory`. What is done afterwards is done
/// by the descriptor: between two walks another user may exchange a directory on the way.
struct GivenPlace {
  Fd directory;  ///< opened with O_PATH: to read or sync the directory, open "." in it
  std::string name;
  std::string directory_path;  ///< absolute, without symbolic links when it was walked
  [[nodiscard]] std::string path() const {
    return directory_path == "/" ? "/" + name : directory_path + "/" + name;
  }
};

/// Finds the place of a file by the rules of open_given(); a link in the last place is followed,
/// too. The name need not exist. A path that ends in a slash, "." or ".." is kUsage.
Result<GivenPlace> find_given(const std::string& path);

/// kFailed when `file`, opened by the path `path` that the caller gave, has several names, stands
/// in the directory of somebody else, and belongs to a third.
Status check_names(int file, const std::string& path);

/// `path` absolute and without symbolic links (realpath(3)). kFailed where one on the way may not
/// be followed.
Result<std::string> real_path(const std::string& path);

/// The directory that `path` names its last part in: "/" of "/x", "." of "x".
std::string parent_of(const std::string& path);

}  // namespace lamina::os
