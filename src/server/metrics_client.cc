// Reads the metrics of a running page server.
#include <chrono>
#include <cstddef>
#include <string>

#include "base/contain.h"
#include "base/error.h"
#include "http/exchange.h"
#include "lamina/serve.h"
#include "os/unix_socket.h"

namespace lamina {
namespace {

constexpr std::chrono::seconds kLongestAnswer{10};
constexpr unsigned kStatusOk = 200;
/// A VM takes less than 1 KiB of text: enough for some 60,000 VMs.
constexpr std::size_t kMaxMetricsBytes = std::size_t{64} << 20;

Result<http::Exchange> ask_for_metrics(const std::string& metrics_socket) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd socket, os::connect_to(metrics_socket, kLongestAnswer));
  http::WaitLimits limits;
  limits.timeout = kLongestAnswer;
  limits.max_response_bytes = kMaxMetricsBytes;
  return http::exchange(socket.get(), {"GET", "/metrics", {}}, limits);
}

/// Connections of many other clients may replace this one before it is answered: then it asks
/// again.
Result<http::Exchange> ask_until_answered(const std::string& metrics_socket) {
  constexpr int kAttempts = 20;
  auto done = ask_for_metrics(metrics_socket);
  for (int i = 1; i < kAttempts && done && done->was_closed_unanswered; ++i) {
    done = ask_for_metrics(metrics_socket);
  }
  return done;
}

}  // namespace

Result<std::string> read_serve_metrics(const std::string& metrics_socket) {
  return contain("metrics", [&]() -> Result<std::string> {
    auto done = ask_until_answered(metrics_socket);
    const bool is_busy = done ? done->timed_out : done.error().kind == ErrorKind::kBusy;
    if (is_busy) {
      return fail(ErrorKind::kBusy, "the page server at '{}' has not answered within {} s",
                  metrics_socket, kLongestAnswer.count());
    }
    if (!done) return std::unexpected(done.error());
    if (!done->response) {
      return fail(ErrorKind::kFailed, "the socket '{}' is not a metrics socket of lamina: {}",
                  metrics_socket, done->response.error().message);
    }
    if (done->response->status != kStatusOk) {
      return fail(ErrorKind::kFailed,
                  "the socket '{}' is not a metrics socket of lamina: it answers with status {}",
                  metrics_socket, done->response->status);
    }
    return std::move(done->response->body);
  });
}

}  // namespace lamina
