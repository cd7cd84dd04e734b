// Identity of this host, and of a directory as opposed to a copy of it.
#pragma once

#include <cstdint>
#include <string>

namespace lamina::os {

/// The host's id from /etc/machine-id or /var/lib/dbus/machine-id (machine-id(5)); it does not
/// change across boots. Empty if there is none.
std::string machine_id();

/// Creation time of the file behind `fd` in nanoseconds since the epoch (statx(2), stx_btime). It
/// distinguishes a directory from a copy that happens to have the same inode number on another file
/// system. 0 if the file system does not record it.
std::uint64_t birth_time_ns(int fd);

}  // namespace lamina::os
