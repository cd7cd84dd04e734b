#include "vmm/vmm.h"

#include <algorithm>

#include "base/error.h"
#include "os/process.h"
#include "os/process_end.h"
#include "os/unix_socket.h"

namespace lamina::vmm {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// How often Progress::interrupted() is called while connect(2) waits.
constexpr Milliseconds kInterruptCheckInterval{100};

}  // namespace

Status Vmm::identify(std::string_view name, const std::string& api_socket, const Timeouts& timeouts,
                     Progress* progress) {
  api_socket_ = api_socket;
  set_name(name);
  timeouts_ = timeouts;
  progress_ = progress;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd connection, open_connection());
  LAMINA_ASSIGN_OR_RETURN(peer_, os::peer_of(connection.get()));
  if (peer_.pid <= 0) {
    return fail(ErrorKind::kFailed,
                "{}: its process is in a pid namespace that is not visible from this one", object_);
  }
  LAMINA_ASSIGN_OR_RETURN(os::Fd pidfd, os::open_peer(connection.get()));
  pidfd_ = os::LockedFd(std::move(pidfd));
  const auto start_time = os::start_time_of(peer_.pid);
  // The start time belongs to the process of the pidfd only if that is still alive.
  if (os::has_ended(pidfd_.get())) {
    return fail(ErrorKind::kFailed, "{}: process {} has ended", object_, peer_.pid);
  }
  if (!start_time) return std::unexpected(start_time.error());
  start_time_ = *start_time;
  return {};
}

void Vmm::set_name(std::string_view name) {
  object_ = fmt::format("{} at '{}'", name, api_socket_);
}

Result<os::Fd> Vmm::open_connection() const {
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

Status Vmm::check_peer(int socket) const {
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

std::optional<Error> Vmm::end_of_process() const {
  const os::NamedProcess process{.pid = peer_.pid, .start_time = start_time_};
  if (!os::wait_if_ending(pidfd_.get(), process)) return std::nullopt;
  return Error{ErrorKind::kFailed, fmt::format("process {} ended before it answered{}", peer_.pid,
                                               os::describe_end(pidfd_.get(), process))};
}

http::Exchange Vmm::send_on(const os::Fd& connection, const http::Request& request,
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

Error Vmm::about(const http::Request& request, Error error) const {
  return with_context(fmt::format("{}: {} {}", object_, request.method, request.target),
                      std::move(error));
}

}  // namespace lamina::vmm
