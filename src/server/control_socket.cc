#include "server/control_socket.h"

#include <sys/socket.h>
#include <unistd.h>

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
constexpr std::chrono::seconds kPatience{10};

/// Empty when the other end hung up before it had greeted.
Result<std::string> greeting_at(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd socket, os::connect_to(path, kPatience));
  LAMINA_RETURN_IF_ERROR(os::limit_receiving(socket.get(), kPatience));
  std::array<char, kGreeting.size()> text{};
  ssize_t count = -1;
  while ((count = ::recv(socket.get(), text.data(), text.size(), MSG_WAITALL)) < 0) {
    if (errno == ECONNRESET) return std::string();
    if (errno != EINTR) return system_failure("receive", path, errno);
  }
  return std::string(text.data(), static_cast<std::size_t>(count));
}

}  // namespace

Result<ControlSocket> ControlSocket::create(const std::string& path, os::Fd inherited,
                                            os::AtPath at_path) {
  if (!inherited.valid()) {
    os::SocketAccess access;
    access.at_path = at_path;
    LAMINA_ASSIGN_OR_RETURN(inherited, os::listen_at(path, access));
  }
  return ControlSocket(path, std::move(inherited));
}

void ControlSocket::handle() const {
  for (int i = 0; i < kMaxAtOnce; ++i) {
    const auto client = os::accept_connection(listening_.get(), path_);
    if (!client || !*client) break;
    static_cast<void>(
        ::send((*client)->get(), kGreeting.data(), kGreeting.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  }
}

void ControlSocket::remove(const std::string& path) { ::unlink(path.c_str()); }

StoreServer ask_control(const std::string& control_socket) {
  const auto greeting = greeting_at(control_socket);
  if (greeting) return *greeting == kGreeting ? StoreServer::kServes : StoreServer::kSilent;
  return greeting.error().kind == ErrorKind::kBusy ? StoreServer::kBusy : StoreServer::kSilent;
}

}  // namespace lamina::server
