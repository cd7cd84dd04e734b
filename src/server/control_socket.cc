#include "server/control_socket.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace lamina::server {
namespace {

constexpr std::string_view kGreeting = "lamina page server\n";
constexpr int kMaxAtOnce = 64;
constexpr std::chrono::seconds kLongestWait{10};

/// Empty when the other end hung up before it had greeted.
Result<std::string> greeting_at(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd socket, os::connect_to(path, kLongestWait));
  LAMINA_RETURN_IF_ERROR(os::limit_receiving(socket.get(), kLongestWait));
  std::array<char, kGreeting.size()> text{};
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

void ControlSocket::handle() {
  for (int i = 0; i < kMaxAtOnce; ++i) {
    const auto client = listener_.accept(path_);
    if (!client || !*client) break;
    static_cast<void>(
        ::send((*client)->get(), kGreeting.data(), kGreeting.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  }
}

StoreServer ask_control(const std::string& control_socket) {
  const auto greeting = greeting_at(control_socket);
  if (greeting) return *greeting == kGreeting ? StoreServer::kServes : StoreServer::kSilent;
  return greeting.error().kind == ErrorKind::kBusy ? StoreServer::kBusy : StoreServer::kSilent;
}

}  // namespace lamina::server
