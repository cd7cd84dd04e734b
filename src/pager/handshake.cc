#include "pager/handshake.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "base/error.h"
#include "os/unix_socket.h"
#include "os/userfaultfd.h"

namespace lamina::pager {
namespace {

using Clock = std::chrono::steady_clock;

/// More than any known VMM sends. Further descriptors would be truncated, which is an error.
constexpr std::size_t kMaxDescriptors = 16;
/// Limited because each piece causes all text so far to be parsed again.
constexpr std::size_t kMaxPieces = 64;
constexpr const char* kPeer = "page fault socket";

/// Receives the next piece of the text and appends it; keeps the first descriptor.
Status receive_piece(int socket, std::string& text, os::Fd& descriptor) {
  std::vector<char> buffer(kMaxHandshakeBytes + 1 - text.size());
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  iovec vector{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t count = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (count < 0) {
    if (errno == EINTR || errno == EAGAIN) return {};
    return system_failure("recvmsg", kPeer, errno);
  }
  // The first descriptor is kept, all others are closed.
  for (os::Fd& taken : os::take_descriptors(message)) {
    if (!descriptor.valid()) descriptor = std::move(taken);
  }
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    return fail(ErrorKind::kFailed, "the peer sent more than {} descriptors", kMaxDescriptors);
  }
  text.append(buffer.data(), static_cast<std::size_t>(count));
  if (text.size() > kMaxHandshakeBytes) {
    return fail(ErrorKind::kFailed, "the peer sent more than {} bytes", kMaxHandshakeBytes);
  }
  return {};
}

/// Waits until the socket is readable; false on timeout.
Result<bool> wait_readable(int socket, Clock::time_point deadline) {
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left < 0) return false;
    pollfd waiting{socket, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(left) + 1);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return system_failure("poll", kPeer, errno);
  }
}

/// True if the peer has closed its end and everything it sent was read.
bool is_closed(int socket) {
  char byte = 0;
  return ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

}  // namespace

Result<bool> HandshakeReceiver::receive(int socket) {
  if (is_closed(socket)) {
    return fail(ErrorKind::kFailed, "the peer closed the socket before its handshake");
  }
  LAMINA_RETURN_IF_ERROR(receive_piece(socket, text_, descriptor_));
  if (++pieces_ > kMaxPieces) {
    return fail(ErrorKind::kFailed, "the peer sent its handshake in more than {} pieces",
                kMaxPieces);
  }
  if (!nlohmann::json::accept(text_)) return false;
  if (!descriptor_.valid()) {
    return fail(ErrorKind::kFailed, "the peer sent its regions without a userfaultfd");
  }
  if (!os::is_userfaultfd(descriptor_.get())) {
    return fail(ErrorKind::kFailed, "the descriptor that the peer sent is not a userfaultfd");
  }
  return true;
}

Handshake HandshakeReceiver::take() { return {std::move(descriptor_), std::move(text_)}; }

Result<Handshake> receive_handshake(int socket, std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  HandshakeReceiver receiver;
  while (true) {
    LAMINA_ASSIGN_OR_RETURN(const bool readable, wait_readable(socket, deadline));
    if (!readable) {
      return fail(ErrorKind::kFailed, "the peer did not complete the handshake within {} ms",
                  timeout.count());
    }
    LAMINA_ASSIGN_OR_RETURN(const bool whole, receiver.receive(socket));
    if (whole) return receiver.take();
  }
}

}  // namespace lamina::pager
