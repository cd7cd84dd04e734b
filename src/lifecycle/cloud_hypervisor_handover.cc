#include "lifecycle/cloud_hypervisor_handover.h"

#include <unistd.h>

#include <utility>

#include "base/error.h"
#include "lamina/uuid.h"
#include "os/unix_socket.h"

namespace lamina::lifecycle {

using vmm::MigrationAnswer;
using vmm::MigrationCommand;

MigrationSocketPath::MigrationSocketPath(const std::string& directory, const char* name)
    : path_(directory + "/" + name) {
  // Cloud Hypervisor does not shorten paths.
  if (path_.size() > os::kMaxSocketPathBytes) {
    is_in_directory_ = false;
    path_ = fmt::format("/tmp/lamina-{}.sock", Uuid::random().to_string());
  }
}

void MigrationSocketPath::remove() const {
  if (!path_.empty()) ::unlink(path_.c_str());
}

Result<Handover> Handover::begin(vmm::CloudHypervisor& vmm, const std::string& directory,
                                 Progress* progress) {
  MigrationSocketPath path(directory, "capture.sock");
  // `directory` is a pin, which this process has locked.
  os::SocketAccess access;
  access.directory_is_locked = path.is_in_directory();
  LAMINA_ASSIGN_OR_RETURN(const os::Fd listening, os::listen_at(path.get(), access));
  LAMINA_RETURN_IF_ERROR(vmm.send_migration(path.get()).status());
  const vmm::MigrationWait wait{vmm.timeouts().request, vmm.pidfd(), progress};
  auto channel = vmm::accept_migration(listening.get(), path.get(), vmm.pid(), wait);
  if (!channel) {
    return std::unexpected(
        with_context(fmt::format("cloud-hypervisor at '{}' does not connect to '{}'",
                                 vmm.api_socket(), path.get()),
                     channel.error()));
  }
  Handover handover(std::move(path), std::move(*channel), wait);
  const Status received = handover.receive_configuration();
  if (received) return handover;
  // So that it goes on at once, also where it would wait for an answer.
  static_cast<void>(handover.refuse());
  return std::unexpected(
      with_context(fmt::format("cloud-hypervisor at '{}' hands over its VM", vmm.api_socket()),
                   received.error()));
}

std::unexpected<Error> Handover::unexpected_message(MigrationCommand command) const {
  return fail(ErrorKind::kFailed, "message {} came out of turn", vmm::name_of(command));
}

Status Handover::answer(MigrationAnswer answer) { return channel_->send_answer(answer, wait_); }

Result<vmm::ReceivedRequest> Handover::next() {
  LAMINA_RETURN_IF_ERROR(answer(MigrationAnswer::kOk));
  return channel_->receive_request(wait_);
}

Status Handover::receive_configuration() {
  constexpr std::size_t kMaxMemfds = 4096;
  LAMINA_ASSIGN_OR_RETURN(vmm::ReceivedRequest request, channel_->receive_request(wait_));
  if (request.command != MigrationCommand::kStart) return unexpected_message(request.command);
  LAMINA_ASSIGN_OR_RETURN(request, next());
  while (request.command == MigrationCommand::kMemoryFd) {
    if (memory_.size() == kMaxMemfds ||
        !memory_.emplace(request.slot, std::move(request.memory)).second) {
      return fail(ErrorKind::kCorrupt, "memory of slot {} came twice", request.slot);
    }
    LAMINA_ASSIGN_OR_RETURN(request, next());
  }
  if (request.command != MigrationCommand::kConfig) return unexpected_message(request.command);
  config_ = std::move(request.payload);
  return {};
}

Status Handover::freeze() {
  wait_.progress = nullptr;  // from here on all goes on to its end
  LAMINA_ASSIGN_OR_RETURN(vmm::ReceivedRequest request, next());
  if (request.command != MigrationCommand::kState) return unexpected_message(request.command);
  state_ = std::move(request.payload);
  LAMINA_ASSIGN_OR_RETURN(request, next());
  if (request.command == MigrationCommand::kComplete ||
      request.command == MigrationCommand::kCompletePaused) {
    return {};
  }
  return unexpected_message(request.command);
}

Status Handover::refuse() {
  if (!channel_) return {};
  wait_.progress = nullptr;
  const Status sent = answer(MigrationAnswer::kError);
  channel_.reset();
  return sent;
}

Status Handover::accept() { return answer(MigrationAnswer::kOk); }

}  // namespace lamina::lifecycle
