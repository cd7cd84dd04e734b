#include "ui/loopback.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>

#include "base/error.h"

namespace lamina::ui {
namespace {

struct Prefix {
  std::string_view text;
  bool is_ipv6;
};
constexpr std::array kPrefixes = {Prefix{"127.0.0.1:", false}, Prefix{"localhost:", false},
                                  Prefix{"[::1]:", true}};

/// An address of either family.
union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

}  // namespace

Result<LoopbackAddress> parse_loopback(const std::string& text) {
  for (const Prefix& prefix : kPrefixes) {
    if (!text.starts_with(prefix.text)) continue;
    LoopbackAddress address{.is_ipv6 = prefix.is_ipv6};
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data() + prefix.text.size(), last, address.port);
    if (error == std::errc() && end == last) return address;
  }
  return with_remedy(
      fail(ErrorKind::kUsage, "'{}' is not a loopback address with a port", text),
      "write it like 127.0.0.1:8080; to reach the console from another machine, forward the port "
      "over ssh");
}

Result<LoopbackListener> listen_on_loopback(const LoopbackAddress& address) {
  constexpr int kBacklog = 64;
  SocketAddress name{};
  socklen_t size = 0;
  if (address.is_ipv6) {
    name.v6 = {.sin6_family = AF_INET6,
               .sin6_port = htons(address.port),
               .sin6_flowinfo = 0,
               .sin6_addr = in6addr_loopback,
               .sin6_scope_id = 0};
    size = sizeof name.v6;
  } else {
    name.v4.sin_family = AF_INET;
    name.v4.sin_port = htons(address.port);
    name.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    size = sizeof name.v4;
  }
  const std::string_view ip = address.is_ipv6 ? "[::1]" : "127.0.0.1";
  const std::string shown = fmt::format("{}:{}", ip, address.port);
  LoopbackListener listener;
  listener.socket =
      os::Fd(::socket(name.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!listener.socket.valid()) return system_failure("socket", shown, errno);
  const int on = 1;
  if (::setsockopt(listener.socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
    return system_failure("setsockopt", shown, errno);
  }
  if (::bind(listener.socket.get(), &name.any, size) != 0) {
    if (errno == EADDRINUSE) {
      return with_remedy(of_kind(ErrorKind::kBusy, system_failure("bind", shown, errno)),
                         "set another port, or port 0 for any free one");
    }
    return system_failure("bind", shown, errno);
  }
  if (::listen(listener.socket.get(), kBacklog) != 0) {
    return system_failure("listen", shown, errno);
  }
  if (::getsockname(listener.socket.get(), &name.any, &size) != 0) {
    return system_failure("getsockname", shown, errno);
  }
  const int port = ntohs(address.is_ipv6 ? name.v6.sin6_port : name.v4.sin_port);
  listener.address = fmt::format("{}:{}", ip, port);
  listener.hosts = {listener.address, fmt::format("localhost:{}", port)};
  // A browser leaves out the port of the scheme.
  constexpr int kHttpPort = 80;
  if (port == kHttpPort)
    listener.hosts.insert(listener.hosts.end(), {std::string(ip), "localhost"});
  return listener;
}

}  // namespace lamina::ui
