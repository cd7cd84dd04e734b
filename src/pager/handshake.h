// Firecracker's side of the socket: one message with one descriptor and the regions as JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"
#include "os/userfaultfd.h"

namespace lamina::pager {

inline constexpr std::size_t kMaxHandshakeBytes = 65536;

/// What a peer sent.
struct Handshake {
  os::Fd userfaultfd;
  std::string regions_json;
};

/// Puts a handshake together from what has arrived, without ever waiting. Empty messages are
/// skipped (one has been seen to come first); a text that arrives in pieces is put together until
/// it is a whole JSON document. Of several descriptors the first is used, all others are closed.
class HandshakeReceiver {
 public:
  /// Takes what has arrived on the connected Unix stream socket; true when the handshake is whole.
  /// kFailed when the peer has closed its end, sent too much, truncated ancillary data, no
  /// descriptor, or one that is no userfaultfd.
  Result<bool> receive(int socket);

  /// True when the peer has handed over a userfaultfd, whatever came of the rest.
  [[nodiscard]] bool has_userfaultfd() const {
    return descriptor_.valid() && os::is_userfaultfd(descriptor_.get());
  }

  /// The whole handshake. REQUIRES: receive() returned true.
  Handshake take();

 private:
  std::string text_;
  std::size_t pieces_ = 0;
  os::Fd descriptor_;
};

/// Receives a handshake, waiting until `timeout` has passed. Fails as HandshakeReceiver does, and
/// with kFailed when the peer is silent.
Result<Handshake> receive_handshake(int socket, std::chrono::milliseconds timeout);

}  // namespace lamina::pager
