// The process at the other end of a Unix socket.
#pragma once

#include <sys/types.h>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Credentials of the peer from SO_PEERCRED, which cannot be forged. For the connecting side the
/// peer is the process that called listen(2), for the accepting side the one that called
/// connect(2). The pid is 0 if that process is outside our pid namespace.
struct Peer {
  pid_t pid = -1;
  uid_t uid = 0;
  gid_t gid = 0;
};
Result<Peer> peer_of(int socket);

/// A pidfd of the peer. kFailed if the process has ended.
Result<Fd> open_peer(int socket);

}  // namespace lamina::os
