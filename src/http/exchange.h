// One HTTP/1.1 request and its answer on a connection of their own.
//
// Every exchange has a fresh connection, which is closed after it. On one that is kept, libcurl
// would send a request again when the peer closes it at the wrong moment, and a request that was
// sent twice is worse than one that failed.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina::http {

struct Request {
  std::string_view method;
  std::string_view target;
  std::string body;  ///< JSON; empty: none is sent
};

/// An answer whose head and body were read whole.
struct Answer {
  long status = 0;
  std::string body;
};

/// An answer may have this many bytes where nothing else is said, head and body each.
inline constexpr std::size_t kMaxAnswerBytes = std::size_t{1} << 20;

/// What ends the waiting for an answer, besides the answer.
struct Patience {
  std::chrono::milliseconds timeout = std::chrono::milliseconds::max();
  int peer_pidfd = -1;           ///< the process that must answer
  Progress* progress = nullptr;  ///< null: nothing interrupts it
  std::size_t max_answer_bytes = kMaxAnswerBytes;
};

/// What came of an exchange.
struct Exchange {
  /// False: not a byte of the request has left. True: when there is no answer, the request may have
  /// been carried out all the same.
  bool sent = false;
  /// False: the end of the request has not left either, so that the peer knows it is not whole.
  bool sent_whole = false;
  Result<Answer> answer;
};

/// Whether a request may be sent on a connection.
using ConnectionCheck = std::function<Status(int socket)>;

/// Connects to the Unix socket at `path`, has the connection checked, sends `request` on it and
/// reads the answer. kFailed when the peer closed the connection, ended, took too long, or sent too
/// much or no HTTP; kInterrupted when `progress` asked to stop (asked at least every 200 ms); the
/// check's own errors. Does not wait while the peer accepts nobody. No SIGPIPE is raised.
Exchange exchange(const std::string& path, const Request& request, const Patience& patience,
                  const ConnectionCheck& check);

}  // namespace lamina::http
