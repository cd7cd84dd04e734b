#include "object_store/scripted_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace lamina::tests {
namespace {

/// A socket that is bound to a free port.
std::pair<os::Fd, std::uint16_t> bind_socket() {
  os::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(fd.get(), generic, length) != 0 || ::getsockname(fd.get(), generic, &length) != 0) {
    throw std::runtime_error("bind");
  }
  return {std::move(fd), ntohs(address.sin_port)};
}

std::string url_of_port(std::uint16_t port) { return "http://127.0.0.1:" + std::to_string(port); }

std::size_t content_length_of(std::string_view head) {
  const std::string_view name = "\r\nContent-Length: ";
  const std::size_t at = head.find(name);
  if (at == std::string_view::npos) return 0;
  return std::strtoull(std::string(head.substr(at + name.size(), 20)).c_str(), nullptr, 10);
}

void send_paced(int fd, std::string_view text, std::chrono::milliseconds pace, int stop) {
  if (pace.count() == 0) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return;
  }
  for (const char c : text) {
    if (::send(fd, &c, 1, MSG_NOSIGNAL) != 1) return;
    pollfd waited{.fd = stop, .events = POLLIN, .revents = 0};
    if (::poll(&waited, 1, static_cast<int>(pace.count())) != 0) return;
  }
}

}  // namespace

std::string http_text(const std::string& status, const std::string& headers,
                      const std::string& body) {
  return "HTTP/1.1 " + status + "\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string refused_url() { return url_of_port(bind_socket().second); }

ScriptedServer::ScriptedServer(std::vector<Reply> replies)
    : ending_(os::Event::create("scripted server").value()),
      replies_(std::make_move_iterator(replies.begin()), std::make_move_iterator(replies.end())) {
  std::tie(listener_, port_) = bind_socket();
  if (::listen(listener_.get(), 64) != 0) throw std::runtime_error("listen");
  acceptor_ = std::thread([this] { accept_all(); });
}

ScriptedServer::~ScriptedServer() {
  ending_.signal();
  acceptor_.join();
  for (std::thread& connection : connections_) connection.join();
}

std::string ScriptedServer::url() const { return url_of_port(port_); }

std::vector<std::string> ScriptedServer::heads() {
  const std::scoped_lock lock(mutex_);
  return heads_;
}

bool ScriptedServer::wait_readable(int fd) const {
  std::array<pollfd, 2> waited = {pollfd{.fd = fd, .events = POLLIN, .revents = 0},
                                  pollfd{.fd = ending_.fd(), .events = POLLIN, .revents = 0}};
  return ::poll(waited.data(), waited.size(), -1) > 0 && waited[1].revents == 0;
}

void ScriptedServer::accept_all() {
  while (wait_readable(listener_.get())) {
    os::Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection.valid()) continue;
    connections_.emplace_back(
        [this, fd = std::move(connection)]() mutable { serve(std::move(fd)); });
  }
}

bool ScriptedServer::take_reply(Reply& reply) {
  const std::scoped_lock lock(mutex_);
  if (replies_.empty()) return false;
  reply = std::move(replies_.front());
  replies_.pop_front();
  return true;
}

bool ScriptedServer::take_reply_without_request(Reply& reply) {
  const std::scoped_lock lock(mutex_);
  if (replies_.empty() || replies_.front().reads_request) return false;
  reply = std::move(replies_.front());
  replies_.pop_front();
  return true;
}

bool ScriptedServer::receive_request(int fd, std::string& received, Reply& reply) {
  std::array<char, 65536> buffer{};
  std::size_t end = std::string::npos;
  std::size_t wanted = 0;
  bool has_reply = false;
  while (!has_reply || received.size() < wanted) {
    if (!wait_readable(fd)) return false;
    const ssize_t count = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (count <= 0) return false;
    received.append(buffer.data(), static_cast<std::size_t>(count));
    if (end == std::string::npos) end = received.find("\r\n\r\n");
    if (end == std::string::npos || has_reply) continue;
    const std::string head = received.substr(0, end + 2);
    {
      const std::scoped_lock lock(mutex_);
      heads_.push_back(head);
    }
    if (!take_reply(reply)) return false;
    has_reply = true;
    wanted = end + 4 + std::min(content_length_of(head), reply.body_bytes_read);
  }
  received.erase(0, wanted);
  return true;
}

void ScriptedServer::end_connection(int fd, Reply::Then then) {
  if (then == Reply::Then::kReset) {
    const linger now{.l_onoff = 1, .l_linger = 0};
    static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
  }
  if (then == Reply::Then::kHang) {
    std::array<char, 65536> buffer{};
    while (wait_readable(fd) && ::recv(fd, buffer.data(), buffer.size(), 0) > 0) {
    }
  }
}

void ScriptedServer::serve(os::Fd connection) {
  const int fd = connection.get();
  std::string received;
  Reply::Then then = Reply::Then::kKeep;
  while (then == Reply::Then::kKeep) {
    Reply reply;
    // A connection that is closed before its request is read has no request to wait for.
    if (!take_reply_without_request(reply) && !receive_request(fd, received, reply)) return;
    send_paced(fd, std::string_view(reply.text).substr(0, reply.length), reply.pace, ending_.fd());
    then = reply.then;
  }
  end_connection(fd, then);
}

}  // namespace lamina::tests
