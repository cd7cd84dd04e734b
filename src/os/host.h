// What tells this host from others, and a directory from its copies.
#pragma once

#include <cstdint>
#include <string>

namespace lamina::os {

/// The host's id: of /etc/machine-id, or of /var/lib/dbus/machine-id (machine-id(5)), the same
/// after each boot. Empty when there is none.
std::string machine_id();

/// When the file behind `fd` was made, in nanoseconds since the epoch (statx(2), stx_btime): a copy
/// of a directory that has got the same inode number on another file system is younger. 0 when the
/// file system does not keep it.
std::uint64_t birth_time_ns(int fd);

}  // namespace lamina::os
