// One HTTP/1.1 request and its answer on a connection that is used for nothing else.
//
// A connection that is kept would have to be tried again when the peer closes it at the wrong
// moment, and a request that was sent twice is worse than one that failed.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "http/message.h"
#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina::http {

/// What ends the waiting for an answer, besides the answer.
struct WaitLimits {
  std::chrono::milliseconds timeout = std::chrono::milliseconds::max();
  int peer_pidfd = -1;           ///< the process that must answer
  Progress* progress = nullptr;  ///< null: nothing interrupts it
  std::size_t max_response_bytes = kMaxResponseBytes;
};

/// What came of an exchange.
struct Exchange {
  /// False: not a byte of the request has left. True: when there is no answer, the request may have
  /// been carried out all the same.
  bool sent = false;
  /// False: the end of the request has not left either, so that the peer knows it is not whole.
  bool sent_whole = false;
  Result<Response> response;
};

/// Sends `request` on a connected stream socket, blocking or not, and reads the answer; what comes
/// behind it is left alone. The caller closes the socket. kFailed when the peer closed the
/// connection, ended, took too long, or sent too much or no HTTP/1; kInterrupted when `progress`
/// asked to stop (asked at least every 200 ms). No SIGPIPE is raised.
Exchange exchange(int socket, const Request& request, const WaitLimits& limits);

}  // namespace lamina::http
