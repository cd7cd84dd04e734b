// Firecracker's side of the socket: one message with one descriptor and the regions as JSON.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "lamina/result.h"
#include "sys/fd.h"

namespace lamina::pager {

inline constexpr std::size_t kMaxHandshakeBytes = 65536;

/// What a peer sent.
struct Handshake {
  sys::Fd userfaultfd;
  std::string regions_json;
  pid_t peer_pid = -1;  ///< from SO_PEERCRED, so it cannot be claimed
  uid_t peer_uid = 0;
};

/// Receives the handshake from a connected Unix stream socket, waiting until `timeout` has passed.
/// Empty messages are skipped (one has been seen to come first); a text that arrives in pieces is
/// put together until it is a whole JSON document. Of several descriptors the first is used, all
/// others are closed. Fails with kFailed when the peer is silent, closes, sends too much, truncated
/// ancillary data or no descriptor, or when the descriptor is no userfaultfd.
Result<Handshake> receive_handshake(int socket, std::chrono::milliseconds timeout);

}  // namespace lamina::pager
