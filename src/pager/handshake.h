// Receives Firecracker's UFFD handshake: one message with a userfaultfd and the regions as JSON.
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

/// Assembles a handshake from the data that has arrived, without waiting. Skips empty messages
/// (some peers send one first). Text that arrives in pieces is collected until it is a complete
/// JSON document. Of several descriptors the first is used and the others are closed.
class HandshakeReceiver {
 public:
  /// Reads from the connected Unix stream socket; true once the handshake is complete. kFailed if
  /// the peer has closed its end, sent too much data or too many descriptors, or sent no descriptor
  /// or one that is not a userfaultfd.
  Result<bool> receive(int socket);

  /// True if the peer has sent a userfaultfd, even if the handshake has failed.
  [[nodiscard]] bool has_userfaultfd() const {
    return descriptor_.valid() && os::is_userfaultfd(descriptor_.get());
  }

  /// The complete handshake. REQUIRES: receive() returned true.
  Handshake take();

 private:
  std::string text_;
  std::size_t pieces_ = 0;
  os::Fd descriptor_;
};

/// Receives a handshake. Fails as HandshakeReceiver does, and with kFailed after `timeout`.
Result<Handshake> receive_handshake(int socket, std::chrono::milliseconds timeout);

}  // namespace lamina::pager
