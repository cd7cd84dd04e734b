#include "remote/fetch_clients.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "os/unix_socket.h"

namespace lamina::remote {
namespace {

constexpr std::size_t kMaxClients = 1024;

}  // namespace

Result<FetchClients> FetchClients::listen(object_store::Poller& poller, std::string path) {
  // A socket that is there is a killed fetcher's: this process holds the arrival's lock.
  LAMINA_ASSIGN_OR_RETURN(
      os::Fd listening,
      os::listen_at(path, {.mode = 0600, .group = {}, .replace = os::ReplaceSocket::kAlways}));
  LAMINA_RETURN_IF_ERROR(poller.watch(listening.get(), true, false));
  return FetchClients(poller, std::move(path), std::move(listening));
}

void FetchClients::handle(int fd, const Ask& ask) {
  if (fd == listening_.get()) return accept_all();
  const auto found = clients_.find(fd);
  if (found == clients_.end() || read_requests(found->second, ask)) return;
  poller_->forget(fd);
  clients_.erase(found);
}

void FetchClients::accept_all() {
  while (true) {
    auto accepted = os::accept_connection(listening_.get(), path_);
    if (!accepted || !*accepted) return;
    const int fd = (*accepted)->get();
    // (A peer that is not accepted connects again.)
    if (clients_.size() == kMaxClients || !poller_->watch(fd, true, false)) continue;
    clients_.emplace(fd, Client{std::move(**accepted), {}, {}});
  }
}

bool FetchClients::read_requests(Client& client, const Ask& ask) {
  std::array<std::byte, 128 * store::kBlockRequestBytes> buffer{};
  while (true) {
    const ssize_t count = ::read(client.socket.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return true;
    if (count <= 0) return false;
    const auto read = std::span(buffer).first(static_cast<std::size_t>(count));
    client.unread.insert(client.unread.end(), read.begin(), read.end());
    std::span<const std::byte> left(client.unread);
    bool is_here = false;
    while (left.size() >= store::kBlockRequestBytes) {
      const auto frames = ask(store::decode_block_request(left.first<store::kBlockRequestBytes>()));
      is_here |= frames.empty();
      client.waits_for.insert(frames.begin(), frames.end());
      left = left.subspan(store::kBlockRequestBytes);
    }
    client.unread = std::vector<std::byte>(left.begin(), left.end());
    if (is_here) tell(client);
  }
}

void FetchClients::tell_arrived(const std::set<std::uint32_t>& frames) {
  for (auto& [fd, client] : clients_) {
    const std::size_t erased = std::erase_if(
        client.waits_for, [&](std::uint32_t frame) { return frames.contains(frame); });
    if (erased > 0) tell(client);
  }
}

void FetchClients::tell_all() {
  for (const auto& [fd, client] : clients_) tell(client);
}

void FetchClients::tell(const Client& client) {
  // A client with a full buffer has enough to read; one that has gone is noticed when it is read.
  constexpr std::array<std::byte, 1> kSomething{std::byte{1}};
  static_cast<void>(os::send_message(client.socket.get(), kSomething, {}, os::WhenFull::kFail));
}

}  // namespace lamina::remote
