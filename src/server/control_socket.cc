#include "server/control_socket.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace lamina::server {
namespace {

constexpr std::string_view kGreeting = "lamina page server\n";
/// Instead of it, followed by the reason. A client that knows only the greeting takes it for none.
constexpr std::string_view kCannotServe = "lamina page server cannot serve: ";
constexpr std::size_t kMaxReplyBytes = 1024;
constexpr int kMaxAtOnce = 64;
constexpr std::chrono::seconds kLongestWait{10};

/// All that it says. Empty when the other end hung up before it had greeted.
Result<std::string> reply_at(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd socket, os::connect_to(path, kLongestWait));
  LAMINA_RETURN_IF_ERROR(os::limit_receiving(socket.get(), kLongestWait));
  std::array<char, kMaxReplyBytes> text{};
  ssize_t count = -1;
  while ((count = ::recv(socket.get(), text.data(), text.size(), MSG_WAITALL)) < 0) {
    if (errno == ECONNRESET) return std::string();
    // limit_receiving() makes it EAGAIN.
    if (errno == EAGAIN) {
      return of_kind(ErrorKind::kBusy, system_failure("receive", path, errno));
    }
    if (errno != EINTR) return system_failure("receive", path, errno);
  }
  return std::string(text.data(), static_cast<std::size_t>(count));
}

}  // namespace

Result<ControlSocket> ControlSocket::create(const std::string& path, Listener inherited,
                                            os::ReplaceSocket replace) {
  if (!inherited.valid()) {
    LAMINA_ASSIGN_OR_RETURN(inherited, Listener::bind(path, {.group = {}, .replace = replace}));
  }
  inherited.set_path_if_unknown(path);
  return ControlSocket(path, std::move(inherited));
}

void ControlSocket::handle(const std::optional<std::string>& failure) {
  std::string reply(kGreeting);
  if (failure) {
    reply = fmt::format("{}{}", kCannotServe, *failure);
    reply.resize(std::min(reply.size(), kMaxReplyBytes - 1));
    reply += '\n';
  }
  for (int i = 0; i < kMaxAtOnce; ++i) {
    const auto client = listener_.accept(path_);
    if (!client || !*client) break;
    static_cast<void>(
        ::send((*client)->get(), reply.data(), reply.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  }
}

StoreServer ask_control(const std::string& control_socket, std::string* cause) {
  const auto reply = reply_at(control_socket);
  if (!reply) {
    return reply.error().kind == ErrorKind::kBusy ? StoreServer::kBusy : StoreServer::kSilent;
  }
  if (*reply == kGreeting) return StoreServer::kServes;
  if (!reply->starts_with(kCannotServe) || !reply->ends_with('\n')) return StoreServer::kSilent;
  if (cause != nullptr) {
    *cause = reply->substr(kCannotServe.size(), reply->size() - kCannotServe.size() - 1);
  }
  return StoreServer::kCannotServe;
}

}  // namespace lamina::server
