// Requests and answers of HTTP, as http_pool.h carries them out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "object_store/object_store.h"
#include "object_store/sigv4.h"

namespace lamina::object_store {

struct HttpRequest {
  std::string method = "GET";
  std::string url;   ///< percent-encoded; used as it is
  Fields headers{};  ///< without Content-Length
  /// Of PUT and POST. Must stay valid, as `buffer` must, until the completion or cancel().
  std::span<const std::byte> body{};
  /// Receives the body of an answer of status 2xx, if not empty; else HttpAnswer::body does.
  std::span<std::byte> buffer{};
  /// Larger bodies of status 2xx end the transfer with HttpFailure::kTooLong.
  std::uint64_t max_bytes = std::uint64_t{64} << 10;
  bool is_sent_once = false;
  /// Not through a proxy of the environment.
  bool is_direct = false;
  /// False: the stall limit begins with the first byte of the answer.
  bool stalls_before_answer = true;
  Limits limits{};  ///< `deadline` from here on
};

/// Why a request has no whole answer.
enum class HttpFailure : std::uint8_t {
  kNone,
  kNotConnected,  ///< name, connection or TLS handshake failed: nothing was sent
  kNotTrusted,    ///< the server's certificate; nothing was sent
  kBroken,        ///< the connection broke, or what came is not HTTP
  kTimedOut,      ///< the deadline, or too slow (Limits::stall)
  kTooLong,       ///< the answer has more bytes than the request permits
  kLocal,         ///< out of memory, a CA file that cannot be read
};

struct HttpAnswer {
  /// 0: no head of an answer came. Otherwise it has come whole, also beside a failure.
  int status = 0;
  HttpFailure failure = HttpFailure::kNone;
  std::string message{};  ///< of a failure, for a person; without the URL
  /// True if all of the request may have left this host.
  bool was_sent = false;
  std::map<std::string, std::string, std::less<>> headers{};  ///< names in lower case
  std::vector<std::byte> body{};  ///< of other statuses than 2xx the first 64 KiB
  std::uint64_t body_bytes = 0;   ///< in `buffer` or `body`

  /// Value of a header, "" if there is none.
  [[nodiscard]] std::string_view header(std::string_view name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string_view() : std::string_view(found->second);
  }
};

}  // namespace lamina::object_store
