#include "vmm/cloud_hypervisor/client.h"

#include <poll.h>

#include <utility>

#include "base/error.h"
#include "os/long_wait.h"
#include "os/poll.h"

namespace lamina::vmm {
namespace {

using SteadyClock = std::chrono::steady_clock;
using Duration = std::chrono::milliseconds;

constexpr std::string_view kPing = "/api/v1/vmm.ping";
constexpr std::string_view kInfo = "/api/v1/vm.info";
constexpr std::string_view kPause = "/api/v1/vm.pause";
constexpr std::string_view kResume = "/api/v1/vm.resume";
constexpr std::string_view kSend = "/api/v1/vm.send-migration";
constexpr std::string_view kReceive = "/api/v1/vm.receive-migration";

constexpr unsigned kStatusOk = 200;
constexpr unsigned kStatusNoContent = 204;
constexpr unsigned kLeastErrorStatus = 400;
constexpr unsigned kStatusNotFound = 404;

/// What says that there is no VM: a status since release 49, a text before.
constexpr std::string_view kNoVm = "VM is not created";

constexpr Duration kRetryPause{10};

}  // namespace

Result<CloudHypervisor> CloudHypervisor::connect(const std::string& api_socket,
                                                 const Timeouts& timeouts, Progress* progress) {
  CloudHypervisor vmm;
  LAMINA_RETURN_IF_ERROR(vmm.identify("cloud-hypervisor", api_socket, timeouts, progress));
  return vmm;
}

CloudHypervisor::CloudHypervisor(Vmm&& identified) : Vmm(std::move(identified)) {
  set_name("cloud-hypervisor");
}

Result<CloudHypervisor::Answer> CloudHypervisor::get(std::string_view target) {
  const http::Request request{"GET", target, {}};
  const os::LongWait waiting;
  auto connection = open_connection();
  if (!connection) {
    auto ended = end_of_process();
    return std::unexpected(about(request, ended ? std::move(*ended) : connection.error()));
  }
  auto response = send_on(*connection, request, timeouts().request, progress()).response;
  if (!response) return std::unexpected(about(request, std::move(response.error())));
  return Answer{response->status, std::move(response->body)};
}

Reply CloudHypervisor::put(std::string_view target, std::string body, Duration timeout,
                           Progress* while_waiting) const {
  const http::Request request{"PUT", target, std::move(body)};
  const os::LongWait waiting;
  auto connection = open_connection();
  if (!connection) return Reply::refused(about(request, std::move(connection.error())));
  http::Exchange done = send_on(*connection, request, timeout, while_waiting);
  if (!done.response) {
    Error error = about(request, std::move(done.response.error()));
    return done.sent ? Reply::unknown(std::move(error)) : Reply::refused(std::move(error));
  }
  const unsigned status = done.response->status;
  if (status == kStatusNoContent || status == kStatusOk) return Reply::acknowledged();
  if (status < kLeastErrorStatus) {
    return Reply::unknown(about(request, {ErrorKind::kFailed, fmt::format("status {}", status)}));
  }
  return Reply::refused(
      about(request, {ErrorKind::kFailed, decode_api_error(done.response->body)}));
}

Result<std::string> CloudHypervisor::ping() {
  LAMINA_ASSIGN_OR_RETURN(const Answer answer, get(kPing));
  const http::Request request{"GET", kPing, {}};
  if (answer.status != kStatusOk) {
    return std::unexpected(about(request, {ErrorKind::kFailed, decode_api_error(answer.body)}));
  }
  auto version = decode_ping(answer.body);
  if (!version) return std::unexpected(about(request, std::move(version.error())));
  return version;
}

Result<VmInfo> CloudHypervisor::info() {
  LAMINA_ASSIGN_OR_RETURN(const Answer answer, get(kInfo));
  const http::Request request{"GET", kInfo, {}};
  if (answer.status == kStatusNotFound || answer.body.contains(kNoVm)) return VmInfo{};
  if (answer.status != kStatusOk) {
    return std::unexpected(about(request, {ErrorKind::kFailed, decode_api_error(answer.body)}));
  }
  auto info = decode_vm_info(answer.body);
  if (!info) return std::unexpected(about(request, std::move(info.error())));
  return info;
}

Result<InstanceInfo> CloudHypervisor::describe() {
  InstanceInfo instance;
  LAMINA_ASSIGN_OR_RETURN(instance.version, ping());
  LAMINA_ASSIGN_OR_RETURN(const VmInfo vm, info());
  instance.state = vm.state;
  return instance;
}

Reply CloudHypervisor::change_state(std::string_view target, VmState wanted) {
  const SteadyClock::time_point end = SteadyClock::now() + timeouts().request;
  while (true) {
    Reply reply = put(target, {}, timeouts().request, progress());
    if (reply.outcome() != Outcome::kRefused) return reply;
    // The end of a migration may have changed it meanwhile.
    const auto now = info();
    if (now && now->state == wanted) return Reply::acknowledged();
    if (!now || now->state == VmState::kNotStarted || SteadyClock::now() >= end) return reply;
    pollfd ended{pidfd(), POLLIN, 0};
    static_cast<void>(os::wait_for_events({&ended, 1}, static_cast<int>(kRetryPause.count())));
  }
}

Reply CloudHypervisor::pause() { return change_state(kPause, VmState::kPaused); }

Reply CloudHypervisor::resume() { return change_state(kResume, VmState::kRunning); }

Reply CloudHypervisor::send_migration(const std::string& socket_path) {
  auto body = encode_send_migration(socket_path);
  if (!body) return Reply::refused(about({"PUT", kSend, {}}, std::move(body.error())));
  return put(kSend, std::move(*body), timeouts().request, progress());
}

Reply CloudHypervisor::receive_migration(const std::string& socket_path) const {
  auto body = encode_receive_migration(socket_path);
  if (!body) return Reply::refused(about({"PUT", kReceive, {}}, std::move(body.error())));
  return put(kReceive, std::move(*body), timeouts().load, nullptr);
}

}  // namespace lamina::vmm
