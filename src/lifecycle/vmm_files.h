// Files that a VMM has written, taken over from it.
//
// The VMM may run as another user, in a directory that this user can change, and may keep its
// descriptors. So a file is known by its inode, and what another process can still write is copied.
#pragma once

#include <string>

#include "lamina/result.h"
#include "store/jail_directory.h"

namespace lamina::lifecycle {

/// Name of a copy until it is complete. An unfinished one may be removed at any time.
inline constexpr const char* kUnfinishedCopyName = ".fetched";

/// Moves the file `name` from a jail's directory into directory `to`, from another file system if
/// need be, so that only this user can access it. Success if there is no such file: it was moved
/// before. kPermission if it does not belong to the jail's user. Durable, except for a move within
/// one file system.
Status move_from_jail(const store::OpenJailDirectory& jail, const std::string& jail_path, int to,
                      const std::string& to_path, const std::string& name);

/// Makes sure that no other process can write the file `name`: it belongs to this user, and no
/// process has it open for writing. A file that a process has open, or that has another name, is
/// replaced by a copy, durably. `is_foreign`: the VMM runs as another user, so the file is also
/// copied if the file system cannot tell whether it is open.
Status make_private(int directory, const std::string& directory_path, const std::string& name,
                    bool is_foreign);

}  // namespace lamina::lifecycle
