#include "vmm/firecracker/client.h"

#include <poll.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "os/long_wait.h"
#include "os/poll.h"

namespace lamina::vmm {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// Delays between retries of a request that got a 503.
constexpr Milliseconds kFirstPause{10};
constexpr Milliseconds kLongestPause{200};

constexpr unsigned kOk = 200;
constexpr unsigned kNoContent = 204;
constexpr unsigned kFirstError = 400;
constexpr unsigned kBadRequest = 400;
constexpr unsigned kNotFound = 404;
constexpr unsigned kServiceUnavailable = 503;

Error unexpected_status(unsigned status) {
  return Error{ErrorKind::kFailed, fmt::format("unexpected status {} of the response", status)};
}

}  // namespace

Result<Firecracker> Firecracker::connect(const std::string& api_socket, const Timeouts& timeouts,
                                         Progress* progress) {
  Firecracker firecracker;
  LAMINA_RETURN_IF_ERROR(firecracker.identify("firecracker", api_socket, timeouts, progress));
  return firecracker;
}

http::Exchange Firecracker::send(const http::Request& request, Milliseconds timeout,
                                 Progress* while_waiting, os::Fd* connection_after) {
  const os::LongWait waiting;
  const auto is_unavailable = [](const http::Exchange& done) {
    return done.response && done.response->status == kServiceUnavailable;
  };
  const Milliseconds bound = std::min(timeouts().request, timeout);
  const Clock::time_point start = Clock::now();
  for (Milliseconds pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    auto connection = open_connection();
    if (!connection) {
      auto ended = end_of_process();
      return {.response = std::unexpected(ended ? std::move(*ended) : connection.error())};
    }
    http::Exchange done = send_on(*connection, request, timeout, while_waiting);
    if (!is_unavailable(done)) {
      if (connection_after != nullptr && done.response) *connection_after = std::move(*connection);
      return done;
    }
    if (kept_.valid()) {
      http::Exchange on_kept = send_on(kept_, request, timeout, while_waiting);
      if (on_kept.sent) return on_kept;
      kept_.reset();
    }
    if (Clock::now() - start + pause > bound) {
      return {.response = fail(
                  ErrorKind::kFailed,
                  "it has refused further connections (503) for {} ms; find out which programs "
                  "keep connections to this socket open",
                  bound.count())};
    }
    if (while_waiting != nullptr && while_waiting->interrupted()) {
      return {.response = fail(ErrorKind::kInterrupted, "interrupted")};
    }
    pollfd end{pidfd(), POLLIN, 0};
    static_cast<void>(os::wait_for_events({&end, 1}, static_cast<int>(pause.count())));
  }
}

Result<std::string> Firecracker::get(std::string_view target) {
  const http::Request request{"GET", target, {}};
  auto response = send(request, timeouts().request, progress()).response;
  if (!response) return std::unexpected(about(request, std::move(response.error())));
  return body_of(request, std::move(*response));
}

Result<std::string> Firecracker::body_of(const http::Request& request,
                                         http::Response response) const {
  if (response.status == kOk) return std::move(response.body);
  if (response.status < kFirstError) {
    return std::unexpected(about(request, unexpected_status(response.status)));
  }
  return std::unexpected(about(request, {ErrorKind::kFailed, decode_fault(response.body)}));
}

Reply Firecracker::change(const http::Request& request, Milliseconds timeout,
                          Progress* while_waiting, os::Fd* connection_after) {
  told_.reset();
  http::Exchange done = send(request, timeout, while_waiting, connection_after);
  const auto& response = done.response;
  if (!response) {
    Error error = about(request, std::move(done.response.error()));
    return done.sent ? Reply::unknown(std::move(error)) : Reply::refused(std::move(error));
  }
  if (response->status == kNoContent) return Reply::acknowledged();
  if (response->status < kFirstError) {
    return Reply::unknown(about(request, unexpected_status(response->status)));
  }
  return Reply::refused(about(request, {ErrorKind::kFailed, decode_fault(response->body)}));
}

Result<bool> Firecracker::is_one() {
  const http::Request request{"GET", "/", {}};
  auto response = send(request, timeouts().request, progress()).response;
  if (!response) return std::unexpected(about(request, std::move(response.error())));
  if (response->status == kNotFound) return false;
  LAMINA_ASSIGN_OR_RETURN(const std::string body, body_of(request, std::move(*response)));
  auto info = decode_instance_info(body);
  if (!info) return std::unexpected(about(request, std::move(info.error())));
  told_ = std::move(*info);
  return true;
}

Result<InstanceInfo> Firecracker::describe() {
  if (!told_) {
    LAMINA_ASSIGN_OR_RETURN(const bool is_firecracker, is_one());
    if (!is_firecracker) {
      return std::unexpected(
          about({"GET", "/", {}}, {ErrorKind::kFailed, "it is not a Firecracker (404)"}));
    }
  }
  InstanceInfo info = std::move(*told_);
  told_.reset();
  return info;
}

Result<MachineConfig> Firecracker::machine_config() {
  LAMINA_ASSIGN_OR_RETURN(const std::string body, get("/machine-config"));
  auto config = decode_machine_config(body);
  if (!config)
    return std::unexpected(about({"GET", "/machine-config", {}}, std::move(config.error())));
  return config;
}

Result<std::uint64_t> Firecracker::hotplug_memory_mib() {
  const http::Request request{"GET", "/hotplug/memory", {}};
  auto response = send(request, timeouts().request, progress()).response;
  if (!response) return std::unexpected(about(request, std::move(response.error())));
  // All errors have this status, and their texts differ between versions. If it means something
  // other than a missing device, the unexpected size of the memory file shows it.
  if (response->status == kBadRequest) return 0;
  if (response->status != kOk) {
    return std::unexpected(about(request, unexpected_status(response->status)));
  }
  auto size = decode_hotplug_memory_mib(response->body);
  if (!size) return std::unexpected(about(request, std::move(size.error())));
  return size;
}

Reply Firecracker::pause() {
  return change({"PATCH", "/vm", R"({"state":"Paused"})"}, timeouts().request, progress(), &kept_);
}

Reply Firecracker::resume() {
  Reply resumed =
      change({"PATCH", "/vm", R"({"state":"Resumed"})"}, timeouts().request, progress());
  if (resumed.status()) kept_.reset();
  return resumed;
}

Reply Firecracker::create(const CreateRequest& request, Progress* while_waiting) {
  http::Request put{"PUT", "/snapshot/create", {}};
  auto body = encode_create(request);
  if (!body) return Reply::refused(about(put, std::move(body.error())));
  put.body = std::move(*body);
  return change(put, timeouts().create, while_waiting);
}

Reply Firecracker::put_mmds(const std::string& contents) {
  return change({"PUT", "/mmds", contents}, timeouts().request, progress());
}

Reply Firecracker::load(const LoadRequest& request) {
  http::Request put{"PUT", "/snapshot/load", {}};
  auto body = encode_load(request);
  if (!body) return Reply::refused(about(put, std::move(body.error())));
  put.body = std::move(*body);
  return change(put, timeouts().load, progress(), &kept_);
}

}  // namespace lamina::vmm
