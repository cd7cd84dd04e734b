#include "server/acceptor.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "base/contain.h"
#include "base/error.h"
#include "os/peer.h"
#include "os/process.h"
#include "os/process_end.h"
#include "os/unix_socket.h"
#include "server/wait_time.h"

namespace lamina::server {
namespace {

/// A peer that has not finished its handshake by then is given up.
constexpr std::chrono::seconds kHandshakeTime{10};

/// Connections that wait for their handshakes. The oldest of the user with the most gives way to
/// one more: an honest peer sends at once, so a crowd of silent ones cannot keep it out.
constexpr std::size_t kMaxPending = 1024;

constexpr int kEventsAtOnce = 64;

}  // namespace

Result<Acceptor> Acceptor::create(const StateDirectory& states, std::vector<Endpoint> endpoints,
                                  const AccessRules& rules, std::vector<Listener>&& inherited,
                                  Admission& admission) {
  Acceptor acceptor(states, std::move(endpoints), rules, admission);
  acceptor.epoll_ = os::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!acceptor.epoll_.valid()) return system_failure("epoll_create", "acceptor", errno);
  acceptor.listening_ = std::move(inherited);
  const bool are_inherited = !acceptor.listening_.empty();
  const Status listens = acceptor.listen();
  if (listens) return acceptor;
  if (are_inherited) {
    inherited = std::move(acceptor.listening_);
  } else {
    acceptor.close();
  }
  return std::unexpected(listens.error());
}

Status Acceptor::listen() {
  for (std::size_t i = listening_.size(); i < endpoints_.size(); ++i) {
    LAMINA_ASSIGN_OR_RETURN(
        Listener listener,
        Listener::bind(endpoints_[i].socket_path,
                       {rules_.socket_mode, rules_.socket_group, rules_.replace}));
    listening_.push_back(std::move(listener));
  }
  for (const Listener& one : listening_) LAMINA_RETURN_IF_ERROR(watch(one.fd()));
  return {};
}

Status Acceptor::watch(int fd) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return system_failure("epoll_ctl", "acceptor", errno);
}

void Acceptor::handle() {
  std::array<epoll_event, kEventsAtOnce> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, 0);
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<std::size_t>(i)].data.fd;
    const auto listening =
        std::find_if(listening_.begin(), listening_.end(),
                     [fd](const Listener& candidate) { return candidate.fd() == fd; });
    const bool is_peer = listening == listening_.end();
    const Status handled = contain("handshake", [&]() -> Status {
      if (is_peer) {
        receive_from(fd);
      } else {
        accept_from(static_cast<std::uint32_t>(listening - listening_.begin()));
      }
      return {};
    });
    // For want of memory, say: this peer is lost, the others are not.
    if (!handled) give_up(is_peer ? fd : -1, handled.error());
  }
}

void Acceptor::accept_from(std::uint32_t endpoint) {
  // A bounded number at once, so that a flood of connections does not hold up what has arrived.
  for (int i = 0; i < kEventsAtOnce; ++i) {
    auto connection = listening_[endpoint].accept(endpoints_[endpoint].socket_path);
    if (!connection) {
      // Usually no descriptor is free. The connection stays pending.
      watch_listening();
      admission_->refuse(one_line(connection.error()));
      return drop_oldest();
    }
    if (!*connection) return;
    // A peer may have sent its userfaultfd already. When it is lost here, in the middle of being
    // admitted, nothing would ever fill its memory.
    const auto pidfd = os::open_peer((*connection)->get());
    bool lost = true;
    const Status admitted = contain("peer", [&] {
      Status done = admit(std::move(**connection), endpoint);
      lost = false;
      return done;
    });
    if (lost && pidfd) static_cast<void>(os::kill_process(pidfd->get()));
    if (!admitted) admission_->refuse(one_line(admitted.error()));
  }
}

Status Acceptor::admit(os::Fd connection, std::uint32_t endpoint) {
  LAMINA_ASSIGN_OR_RETURN(const os::Peer peer, os::peer_of(connection.get()));
  const bool allowed =
      rules_.any_user || peer.uid == 0 || peer.uid == ::geteuid() ||
      std::find(rules_.users.begin(), rules_.users.end(), peer.uid) != rules_.users.end();
  if (!allowed) {
    return with_remedy(
        fail(ErrorKind::kPermission, "process {} of user {} is refused", peer.pid, peer.uid),
        "allow it with `allow_uid={}`", peer.uid);
  }
  LAMINA_ASSIGN_OR_RETURN(ClaimedPeer claimed, claim_peer(*states_, connection.get()));
  if (pending_.size() >= kMaxPending) drop_oldest();
  const int fd = connection.get();
  pending_.emplace(
      fd,
      Pending{
          std::move(connection), std::move(claimed), {}, endpoint, Clock::now() + kHandshakeTime});
  const Status watched = watch(fd);
  if (!watched) drop(fd);
  return watched;
}

void Acceptor::receive_from(int connection) {
  const auto found = pending_.find(connection);
  if (found == pending_.end()) return;
  Pending& pending = found->second;
  const auto whole = pending.receiver.receive(connection);
  if (!whole) {
    admission_->refuse(reason_of(pending, one_line(whole.error())));
    return drop(connection);
  }
  if (!*whole) return;
  // Nothing more is expected from the peer; its end is seen by its pidfd.
  static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection, nullptr));
  ArrivedPeer arrived{std::move(pending.connection), std::move(pending.claimed),
                      pending.receiver.take()};
  const Endpoint& endpoint = endpoints_[pending.endpoint];
  pending_.erase(found);
  admission_->admit(std::move(arrived), endpoint);
}

void Acceptor::give_up(int connection, const Error& error) noexcept {
  const auto found = pending_.find(connection);
  if (found != pending_.end()) {
    // It may have sent its userfaultfd, and not be told that it waits in vain.
    static_cast<void>(
        contain("peer", [&] { return os::kill_process(found->second.claimed.pidfd.get()); }));
    drop(connection);
  }
  static_cast<void>(contain("log", [&]() -> Status {
    admission_->refuse(one_line(error));
    return {};
  }));
}

void Acceptor::drop(int connection) noexcept {
  const auto found = pending_.find(connection);
  // What is left there is found by the next start.
  static_cast<void>(contain("peer", [&]() -> Status {
    states_->remove(found->second.claimed.directory);
    return {};
  }));
  // A serving process that was just forked may hold it open for a moment longer.
  static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection, nullptr));
  pending_.erase(found);
}

void Acceptor::drop_oldest() {
  // Of the user with the most: a crowd of one user does not keep out the VMs of others.
  std::map<uid_t, std::size_t> crowds;
  for (const auto& [fd, pending] : pending_) ++crowds[pending.claimed.peer.uid];
  const auto crowd =
      std::max_element(crowds.begin(), crowds.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  auto oldest = pending_.end();
  for (auto one = pending_.begin(); one != pending_.end(); ++one) {
    if (one->second.claimed.peer.uid != crowd->first) continue;
    if (oldest == pending_.end() || one->second.deadline < oldest->second.deadline) oldest = one;
  }
  if (oldest == pending_.end()) return;
  admission_->refuse(reason_of(
      oldest->second,
      fmt::format("it sent no whole handshake, and {} others wait", pending_.size() - 1)));
  drop(oldest->first);
}

int Acceptor::expire() {
  const auto next_ms = contain("peers", [&]() -> Result<int> { return expire_late(); });
  return next_ms ? *next_ms : static_cast<int>(os::ListeningSocket::kBackOff.count());
}

int Acceptor::expire_late() {
  const Clock::time_point now = Clock::now();
  int next_ms = -1;
  std::vector<int> late;
  for (const auto& [fd, pending] : pending_) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(pending.deadline - now).count();
    if (left <= 0) {
      late.push_back(fd);
    } else if (next_ms < 0 || left < next_ms) {
      next_ms = static_cast<int>(left) + 1;
    }
  }
  for (const int fd : late) {
    const Pending& pending = pending_.at(fd);
    admission_->refuse(reason_of(
        pending, fmt::format("it sent no whole handshake within {} s", kHandshakeTime.count())));
    drop(fd);
  }
  for (Listener& one : listening_) {
    const int back_off_ms = one.expire();
    if (back_off_ms == 0) watch_listening();
    next_ms = sooner(next_ms, back_off_ms);
  }
  return next_ms;
}

void Acceptor::forget_peers() {
  pending_.clear();
  epoll_.reset();
}

Status Acceptor::resume(bool listens) {
  if (!listens) listening_.clear();
  held_ = false;
  epoll_ = os::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return system_failure("epoll_create", "acceptor", errno);
  for (const Listener& one : listening_) LAMINA_RETURN_IF_ERROR(watch(one.fd()));
  return {};
}

void Acceptor::hold(bool held) {
  held_ = held;
  watch_listening();
}

void Acceptor::watch_listening() {
  for (const Listener& one : listening_) {
    const bool accepts = !held_ && !one.backs_off();
    epoll_event event{};
    event.events = accepts ? static_cast<std::uint32_t>(EPOLLIN) : 0U;
    event.data.fd = one.fd();
    static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, one.fd(), &event));
  }
}

void Acceptor::stop_listening() {
  for (std::size_t i = 0; i < listening_.size(); ++i) {
    listening_[i].remove();
    accept_from(static_cast<std::uint32_t>(i));
  }
  listening_.clear();
  handle();
}

std::string Acceptor::reason_of(const Pending& pending, const std::string& reason) {
  const ClaimedPeer& claimed = pending.claimed;
  const os::NamedProcess process{.pid = claimed.peer.pid, .start_time = claimed.start_time};
  const auto end = end_of(process, claimed.pidfd.get());
  const bool waits = pending.receiver.has_userfaultfd();
  if (waits) static_cast<void>(os::kill_process(claimed.pidfd.get()));
  if (end) return *end;
  return fmt::format("process {} is refused: {}{}", process.pid, reason, waits ? kKilledToo : "");
}

void Acceptor::close() {
  while (!pending_.empty()) drop(pending_.begin()->first);
  for (const Listener& one : listening_) one.remove();
  listening_.clear();
}

}  // namespace lamina::server
