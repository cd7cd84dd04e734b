// One HTTP/1.1 request and its answer on a connection of their own.
//
// Every exchange has a fresh connection, which is closed after it. On one that is kept, libcurl
// would send a request again when the peer closes it at the wrong moment, and a request that was
// sent twice is worse than one that failed.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "sys/fd.h"

namespace lamina::vmm {

struct HttpRequest {
  std::string_view method;
  std::string_view target;
  std::string body;  ///< JSON; empty: none is sent
};

/// An answer whose head and body were read whole.
struct HttpAnswer {
  long status = 0;
  std::string body;
};

/// What ends the waiting for an answer, besides the answer.
struct Patience {
  std::chrono::milliseconds timeout;
  int peer_pidfd = -1;           ///< the process that must answer
  Progress* progress = nullptr;  ///< null: nothing interrupts it
};

/// An answer may have this many bytes, head and body each.
inline constexpr std::size_t kMaxAnswerBytes = std::size_t{1} << 20;

/// Sends `request` on a connected stream socket and reads the answer. When this fails, the request
/// may have been carried out all the same: kFailed when the peer closed the connection, ended, took
/// too long, or sent too much or no HTTP; kInterrupted when `progress` asked to stop (asked at
/// least every 200 ms). No SIGPIPE is raised.
Result<HttpAnswer> exchange(sys::Fd connection, const HttpRequest& request,
                            const Patience& patience);

}  // namespace lamina::vmm
