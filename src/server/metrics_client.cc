// Reads the metrics of a running page server.
#include <chrono>
#include <cstddef>
#include <string>

#include "base/contain.h"
#include "base/error.h"
#include "http/exchange.h"
#include "lamina/progress.h"
#include "lamina/serve.h"
#include "os/fd.h"
#include "os/unix_socket.h"

namespace lamina {
namespace {

constexpr std::chrono::seconds kLongestAnswer{10};
/// Between two looks whether to stop.
constexpr std::chrono::milliseconds kConnectSlice{200};
constexpr unsigned kStatusOk = 200;
/// A VM takes less than 1 KiB of text: enough for some 60,000 VMs.
constexpr std::size_t kMaxMetricsBytes = std::size_t{64} << 20;

/// connect(2), which waits while the backlog is full, as that of a stopped process may be.
Result<os::Fd> connect_in_time(const std::string& metrics_socket, Progress* progress) {
  auto socket = os::connect_to(metrics_socket, kConnectSlice);
  for (auto waited = kConnectSlice; !socket && socket.error().kind == ErrorKind::kBusy;
       waited += kConnectSlice) {
    if (progress != nullptr && progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted while connecting to '{}'", metrics_socket);
    }
    if (waited >= kLongestAnswer) break;
    socket = os::connect_to(metrics_socket, kConnectSlice);
  }
  return socket;
}

Result<http::Exchange> ask_for_metrics(const std::string& metrics_socket, Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd socket, connect_in_time(metrics_socket, progress));
  http::WaitLimits limits;
  limits.timeout = kLongestAnswer;
  limits.progress = progress;
  limits.max_response_bytes = kMaxMetricsBytes;
  return http::exchange(socket.get(), {"GET", "/metrics", {}}, limits);
}

/// Connections of many other clients may replace this one before it is answered: then it asks
/// again.
Result<http::Exchange> ask_until_answered(const std::string& metrics_socket, Progress* progress) {
  constexpr int kAttempts = 20;
  auto done = ask_for_metrics(metrics_socket, progress);
  for (int i = 1; i < kAttempts && done && done->was_closed_unanswered; ++i) {
    done = ask_for_metrics(metrics_socket, progress);
  }
  return done;
}

}  // namespace

Result<std::string> read_serve_metrics(const std::string& metrics_socket, Progress* progress) {
  return contain("metrics", [&]() -> Result<std::string> {
    auto done = ask_until_answered(metrics_socket, progress);
    const bool is_busy = done ? done->timed_out : done.error().kind == ErrorKind::kBusy;
    if (is_busy) {
      return fail(ErrorKind::kBusy, "the page server at '{}' has not answered within {} s",
                  metrics_socket, kLongestAnswer.count());
    }
    if (!done) return std::unexpected(done.error());
    if (!done->response && done->response.error().kind == ErrorKind::kInterrupted) {
      return std::unexpected(done->response.error());
    }
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
