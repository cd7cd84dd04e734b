#include "os/peer.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/error.h"
#include "os/kernel_definitions.h"
#include "os/process.h"

namespace lamina::os {

Result<Peer> peer_of(int socket) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return system_failure("getsockopt", "peer of a socket", errno);
  }
  return Peer{peer.pid, peer.uid, peer.gid};
}

Result<Fd> open_peer(int socket) {
  int fd = -1;
  socklen_t length = sizeof(fd);
  if (::getsockopt(socket, SOL_SOCKET, kSoPeerPidfd, &fd, &length) == 0) return Fd(fd);
  LAMINA_ASSIGN_OR_RETURN(const Peer peer, peer_of(socket));
  LAMINA_ASSIGN_OR_RETURN(Fd pidfd, open_process(peer.pid));
  // The pid may have been reused before it was opened. Then the peer's end is closed.
  pollfd end{socket, POLLRDHUP, 0};
  if (::poll(&end, 1, 0) > 0 && (end.revents & (POLLHUP | POLLRDHUP)) != 0) {
    return fail(ErrorKind::kFailed, "process {} has ended", peer.pid);
  }
  return pidfd;
}

}  // namespace lamina::os
