#include "vmm/firecracker/client.h"

#include <poll.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "os/long_wait.h"
#include "os/poll.h"
#include "os/process.h"
#include "os/process_end.h"
#include "os/unix_socket.h"

namespace lamina::vmm {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// How often Progress::interrupted() is called while connect(2) waits.
constexpr Milliseconds kInterruptCheckInterval{100};

/// Delays between retries of a request that got a 503.
constexpr Milliseconds kFirstPause{10};
constexpr Milliseconds kLongestPause{200};

constexpr unsigned kOk = 200;
constexpr unsigned kNoContent = 204;
constexpr unsigned kFirstError = 400;
constexpr unsigned kBadRequest = 400;
constexpr unsigned kServiceUnavailable = 503;

Error unexpected_status(unsigned status) {
  return Error{ErrorKind::kFailed, fmt::format("unexpected status {} of the response", status)};
}

}  // namespace

Result<Firecracker> Firecracker::connect(const std::string& api_socket, const Timeouts& timeouts,
                                         Progress* progress) {
  Firecracker firecracker;
  firecracker.object_ = fmt::format("firecracker at '{}'", api_socket);
  firecracker.api_socket_ = api_socket;
  firecracker.timeouts_ = timeouts;
  firecracker.progress_ = progress;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd connection, firecracker.open_connection());
  LAMINA_ASSIGN_OR_RETURN(firecracker.peer_, os::peer_of(connection.get()));
  if (firecracker.peer_.pid <= 0) {
    return fail(ErrorKind::kFailed,
                "{}: its process is in a pid namespace that is not visible from this one",
                firecracker.object_);
  }
  LAMINA_ASSIGN_OR_RETURN(os::Fd pidfd, os::open_peer(connection.get()));
  firecracker.pidfd_ = os::LockedFd(std::move(pidfd));
  const auto start_time = os::start_time_of(firecracker.peer_.pid);
  // The start time belongs to the process of the pidfd only if that is still alive.
  if (os::has_ended(firecracker.pidfd_.get())) {
    return fail(ErrorKind::kFailed, "{}: process {} has ended", firecracker.object_,
                firecracker.peer_.pid);
  }
  if (!start_time) return std::unexpected(start_time.error());
  firecracker.start_time_ = *start_time;
  return firecracker;
}

Result<os::Fd> Firecracker::open_connection() const {
  const Clock::time_point start = Clock::now();
  while (true) {
    if (progress_ != nullptr && progress_->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    const auto waited = std::chrono::duration_cast<Milliseconds>(Clock::now() - start);
    const Milliseconds left = std::max(timeouts_.connect - waited, Milliseconds(1));
    auto connection = os::connect_to(api_socket_, std::min(left, kInterruptCheckInterval));
    if (connection || connection.error().kind != ErrorKind::kBusy) return connection;
    if (Clock::now() - start >= timeouts_.connect) {
      return fail(ErrorKind::kFailed, "connect '{}': not accepted within {} ms", api_socket_,
                  timeouts_.connect.count());
    }
  }
}

Status Firecracker::check_peer(int socket) const {
  LAMINA_ASSIGN_OR_RETURN(const os::Peer peer, os::peer_of(socket));
  if (peer.pid <= 0) return fail(ErrorKind::kFailed, "the peer is in another pid namespace");
  if (peer.pid != peer_.pid) {
    return fail(ErrorKind::kFailed, "process {} listens there now, no longer {}", peer.pid,
                peer_.pid);
  }
  // While the process is alive its pid is not reused. But a listening socket that was inherited
  // outlives the process that called listen(2).
  const auto start_time = os::start_time_of(peer.pid);
  if (os::has_ended(pidfd_.get())) {
    return fail(ErrorKind::kFailed, "process {} has ended", peer_.pid);
  }
  if (!start_time) return std::unexpected(start_time.error());
  if (*start_time != start_time_) {
    return fail(ErrorKind::kFailed, "another process with pid {} listens there now", peer.pid);
  }
  return {};
}

std::optional<Error> Firecracker::end_of_process() const {
  const os::NamedProcess process{.pid = peer_.pid, .start_time = start_time_};
  if (!os::wait_if_ending(pidfd_.get(), process)) return std::nullopt;
  return Error{ErrorKind::kFailed, fmt::format("process {} ended before it answered{}", peer_.pid,
                                               os::describe_end(pidfd_.get(), process))};
}

http::Exchange Firecracker::send_on(const os::Fd& connection, const http::Request& request,
                                    Milliseconds timeout, Progress* while_waiting) const {
  if (const Status checked = check_peer(connection.get()); !checked) {
    return {.response = std::unexpected(checked.error())};
  }
  http::Exchange done =
      http::exchange(connection.get(), request, {timeout, pidfd_.get(), while_waiting});
  if (!done.response && done.response.error().kind == ErrorKind::kFailed) {
    if (auto ended = end_of_process()) done.response = std::unexpected(std::move(*ended));
  }
  return done;
}

http::Exchange Firecracker::send(const http::Request& request, Milliseconds timeout,
                                 Progress* while_waiting, os::Fd* connection_after) {
  const os::LongWait waiting;
  const auto is_unavailable = [](const http::Exchange& done) {
    return done.response && done.response->status == kServiceUnavailable;
  };
  const Milliseconds bound = std::min(timeouts_.request, timeout);
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
    pollfd end{pidfd_.get(), POLLIN, 0};
    static_cast<void>(os::wait_for_events({&end, 1}, static_cast<int>(pause.count())));
  }
}

Error Firecracker::about(const http::Request& request, Error error) const {
  return with_context(fmt::format("{}: {} {}", object_, request.method, request.target),
                      std::move(error));
}

Result<std::string> Firecracker::get(std::string_view target) {
  const http::Request request{"GET", target, {}};
  auto response = send(request, timeouts_.request, progress_).response;
  if (!response) return std::unexpected(about(request, std::move(response.error())));
  if (response->status == kOk) return std::move(response->body);
  if (response->status < kFirstError) {
    return std::unexpected(about(request, unexpected_status(response->status)));
  }
  return std::unexpected(about(request, {ErrorKind::kFailed, decode_fault(response->body)}));
}

Reply Firecracker::change(const http::Request& request, Milliseconds timeout,
                          Progress* while_waiting, os::Fd* connection_after) {
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

Result<InstanceInfo> Firecracker::describe() {
  LAMINA_ASSIGN_OR_RETURN(const std::string body, get("/"));
  auto info = decode_instance_info(body);
  if (!info) return std::unexpected(about({"GET", "/", {}}, std::move(info.error())));
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
  auto response = send(request, timeouts_.request, progress_).response;
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
  return change({"PATCH", "/vm", R"({"state":"Paused"})"}, timeouts_.request, progress_, &kept_);
}

Reply Firecracker::resume() {
  Reply resumed = change({"PATCH", "/vm", R"({"state":"Resumed"})"}, timeouts_.request, progress_);
  if (resumed.status()) kept_.reset();
  return resumed;
}

Reply Firecracker::create(const CreateRequest& request, Progress* while_waiting) {
  http::Request put{"PUT", "/snapshot/create", {}};
  auto body = encode_create(request);
  if (!body) return Reply::refused(about(put, std::move(body.error())));
  put.body = std::move(*body);
  return change(put, timeouts_.create, while_waiting);
}

Reply Firecracker::put_mmds(const std::string& contents) {
  return change({"PUT", "/mmds", contents}, timeouts_.request, progress_);
}

Reply Firecracker::load(const LoadRequest& request) {
  http::Request put{"PUT", "/snapshot/load", {}};
  auto body = encode_load(request);
  if (!body) return Reply::refused(about(put, std::move(body.error())));
  put.body = std::move(*body);
  return change(put, timeouts_.load, progress_, &kept_);
}

}  // namespace lamina::vmm
