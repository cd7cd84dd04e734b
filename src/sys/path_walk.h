// From a path to a descriptor, without being led astray by links that somebody else has made.
//
// There are two kinds of paths.
//
// *Below a directory that is open* (a store, a snapshot, a jail, an area) every name was chosen by
// lamina or read from a file, and nothing there has to be a link: no symbolic link is followed, no
// name leads up, none is absolute.
//
// *A path that the caller gave* may lead through links. They are followed as long as nobody but
// root and the caller could have made them. From the first directory on that belongs to somebody
// else, no link is followed; and in a directory that others may write to (/tmp) only links that
// belong to root or to the caller. The kernel's fs.protected_symlinks is the same idea, for sticky
// directories only. Links of /proc are the kernel's own, and are followed.
//
// A file with several names in somebody else's directory must belong to that directory's owner:
// else the owner could have linked it there to have it read.
#pragma once

#include <sys/types.h>

#include <string>

#include "lamina/result.h"
#include "sys/fd.h"

namespace lamina::sys {

/// openat(2) of `name` below `directory`, which may have several components. A symbolic link is
/// kFailed, except in the last place with O_PATH | O_NOFOLLOW: that opens the link itself.
Result<Fd> open_below(int directory, const std::string& name, int flags, mode_t mode,
                      const std::string& object);

/// open(2) of a path that the caller gave.
Result<Fd> open_given(const std::string& path, int flags, mode_t mode, const std::string& object);

/// kFailed when `file`, opened by the path `path` that the caller gave, has several names, stands
/// in the directory of somebody else, and belongs to a third.
Status check_names(int file, const std::string& path);

}  // namespace lamina::sys
