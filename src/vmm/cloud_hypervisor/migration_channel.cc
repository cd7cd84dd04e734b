#include "vmm/cloud_hypervisor/migration_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "base/error.h"
#include "os/peer.h"
#include "os/poll.h"
#include "os/unix_socket.h"

namespace lamina::vmm {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr const char* kObject = "migration socket";
constexpr std::size_t kMaxDescriptors = 4;
constexpr Milliseconds kInterruptInterval{100};

/// Waits until `socket` has an event.
Status wait_on(int socket, short events, const MigrationWait& wait) {
  const Clock::time_point end = Clock::now() + wait.timeout;
  while (true) {
    if (wait.progress != nullptr && wait.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    std::array<pollfd, 2> entries{{{socket, events, 0}, {wait.peer_pidfd, POLLIN, 0}}};
    const auto left = std::chrono::duration_cast<Milliseconds>(end - Clock::now());
    const auto some = std::clamp(left, Milliseconds(0), kInterruptInterval);
    LAMINA_RETURN_IF_ERROR(os::wait_for_events(entries, static_cast<int>(some.count())));
    if (entries.front().revents != 0) return {};
    if (entries.back().revents != 0) {
      return fail(ErrorKind::kFailed, "its process has ended in the middle of the migration");
    }
    if (Clock::now() >= end) {
      return fail(ErrorKind::kFailed, "it was silent for {} ms in the migration",
                  wait.timeout.count());
    }
  }
}

}  // namespace

Status MigrationChannel::wait_for(short events, const MigrationWait& wait) const {
  return wait_on(socket_.get(), events, wait);
}

Status MigrationChannel::receive(std::span<std::byte> buffer, const MigrationWait& wait) {
  while (!buffer.empty()) {
    LAMINA_RETURN_IF_ERROR(wait_for(POLLIN, wait));
    iovec vector{buffer.data(), buffer.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0 && errno != ECONNRESET) return system_failure("recvmsg", kObject, errno);
    if (count <= 0) return fail(ErrorKind::kFailed, "it has closed the migration's connection");
    for (os::Fd& fd : os::take_descriptors(message)) {
      if (descriptors_.size() < kMaxDescriptors) descriptors_.push_back(std::move(fd));
    }
    buffer = buffer.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Status MigrationChannel::send(std::span<const std::byte> bytes, const MigrationWait& wait) {
  while (!bytes.empty()) {
    LAMINA_RETURN_IF_ERROR(wait_for(POLLOUT, wait));
    const ssize_t count =
        ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0 && (errno == EPIPE || errno == ECONNRESET)) {
      return fail(ErrorKind::kFailed, "it has closed the migration's connection");
    }
    if (count < 0) return system_failure("send", kObject, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<ReceivedRequest> MigrationChannel::receive_request(const MigrationWait& wait) {
  descriptors_.clear();
  MigrationHeader header{};
  LAMINA_RETURN_IF_ERROR(receive(header, wait));
  LAMINA_ASSIGN_OR_RETURN(const MigrationRequest request, decode_request(header));
  ReceivedRequest received;
  received.command = request.command;
  if (request.command == MigrationCommand::kMemoryFd) {
    std::array<std::byte, kMemorySlotBytes> payload{};
    LAMINA_RETURN_IF_ERROR(receive(payload, wait));
    received.slot = decode_slot(payload);
    if (descriptors_.size() != 1) {
      return fail(ErrorKind::kCorrupt, "message MemoryFd came with {} descriptors, not with one",
                  descriptors_.size());
    }
    received.memory = std::move(descriptors_.front());
    descriptors_.clear();
    return received;
  }
  received.payload.resize(request.length);
  LAMINA_RETURN_IF_ERROR(receive(std::as_writable_bytes(std::span(received.payload)), wait));
  if (!descriptors_.empty()) {
    return fail(ErrorKind::kCorrupt, "message {} came with a descriptor", name_of(request.command));
  }
  return received;
}

Status MigrationChannel::send_answer(MigrationAnswer answer, const MigrationWait& wait) {
  return send(encode_answer(answer), wait);
}

Status MigrationChannel::request(MigrationCommand command, std::string_view payload,
                                 const MigrationWait& wait) {
  LAMINA_RETURN_IF_ERROR(send(encode_request({command, payload.size()}), wait));
  LAMINA_RETURN_IF_ERROR(send(std::as_bytes(std::span(payload)), wait));
  return receive_answer(command, wait);
}

Status MigrationChannel::send_memory(std::uint32_t slot, int memory, const MigrationWait& wait) {
  LAMINA_RETURN_IF_ERROR(
      send(encode_request({MigrationCommand::kMemoryFd, kMemorySlotBytes}), wait));
  LAMINA_RETURN_IF_ERROR(wait_for(POLLOUT, wait));
  // With the payload: Cloud Hypervisor reads the header without room for a descriptor.
  LAMINA_RETURN_IF_ERROR(
      os::send_message(socket_.get(), encode_slot(slot), {&memory, 1}, os::WhenFull::kFail));
  return receive_answer(MigrationCommand::kMemoryFd, wait);
}

Status MigrationChannel::receive_answer(MigrationCommand command, const MigrationWait& wait) {
  MigrationHeader header{};
  LAMINA_RETURN_IF_ERROR(receive(header, wait));
  LAMINA_ASSIGN_OR_RETURN(const MigrationAnswer answer, decode_answer(header));
  if (answer == MigrationAnswer::kOk) return {};
  return fail(ErrorKind::kFailed, "it has refused message {}; its log says why", name_of(command));
}

Result<MigrationChannel> accept_migration(int listening, const std::string& path, pid_t pid,
                                          const MigrationWait& wait) {
  while (true) {
    LAMINA_RETURN_IF_ERROR(wait_on(listening, POLLIN, wait));
    LAMINA_ASSIGN_OR_RETURN(std::optional<os::Fd> connection,
                            os::accept_connection(listening, path));
    if (!connection) continue;
    const auto peer = os::peer_of(connection->get());
    if (peer && peer->pid == pid) return MigrationChannel(std::move(*connection));
  }
}

}  // namespace lamina::vmm
