// One HTTP/1.1 request and its response, on a connection that is used only for them.
//
// On a persistent connection a request would have to be resent if the peer closes the connection at
// the wrong moment, and a request that is sent twice is worse than one that fails.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "http/message.h"
#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina::http {

/// Limits on waiting for a response.
struct WaitLimits {
  std::chrono::milliseconds timeout = std::chrono::milliseconds::max();
  int peer_pidfd = -1;           ///< the serving process: stop waiting when it ends; -1: unknown
  Progress* progress = nullptr;  ///< may interrupt the wait; may be null
  std::size_t max_response_bytes = kMaxResponseBytes;
};

/// The result of an exchange.
struct Exchange {
  /// True if any byte of the request was sent: then it may have been carried out even without a
  /// response.
  bool sent = false;
  /// True if the whole request was sent. False: the peer can tell that it is incomplete.
  bool sent_whole = false;
  bool timed_out = false;
  /// True if the peer closed the connection before it sent any byte of a response.
  bool was_closed_unanswered = false;
  Result<Response> response;
};

/// Sends `request` on a connected stream socket, blocking or not, and reads the response; ignores
/// bytes after it. The caller closes the socket. kFailed if the peer closes the connection, ends,
/// takes too long, or sends too much or something other than HTTP/1; kInterrupted if `progress`
/// asks to stop (checked at least every 200 ms). Raises no SIGPIPE.
Exchange exchange(int socket, const Request& request, const WaitLimits& limits);

}  // namespace lamina::http
