#include "stand_ins/hostile_peer.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <functional>
#include <map>
#include <span>

#include "stand_ins/page_server_connection.h"
#include "stand_ins/sockets.h"

namespace lamina::tests {
namespace {

/// What a misbehaviour works with.
struct Peer {
  int socket;
  const OfferedMemory& memory;
  std::size_t page_bytes;

  [[nodiscard]] std::string json() const { return regions_json(memory.regions, page_bytes); }
  /// Sends `text` with the userfaultfd.
  void send(const std::string& text) const {
    const std::array<int, 1> fds = {memory.userfaultfd};
    send_with_descriptors(socket, text, fds);
  }
  void send_region(const std::string& address, const std::string& size,
                   const std::string& offset) const {
    send(R"([{"base_host_virt_addr":)" + address + R"(,"size":)" + size + R"(,"offset":)" + offset +
         R"(,"page_size":4096}])");
  }
  [[nodiscard]] std::string address() const {
    return std::to_string(reinterpret_cast<std::uint64_t>(memory.regions.front().memory));
  }
  /// Sends the whole handshake with other descriptors.
  void send_with(std::span<const int> fds) const { send_with_descriptors(socket, json(), fds); }
};

void send_pipe(const Peer& peer) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) ::_exit(1);
  peer.send_with(std::span(ends).first(1));
}

void send_regular_file(const Peer& peer) {
  const std::array<int, 1> fds = {::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  peer.send_with(fds);
}

/// One that was never asked for its features answers no read.
void send_raw_userfaultfd(const Peer& peer) {
  const std::array<int, 1> fds = {
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))};
  peer.send_with(fds);
  // It is killed for that; otherwise the test sees a regular end.
  ::pause();
}

void send_too_many_descriptors(const Peer& peer) {
  std::array<int, 40> fds{};
  fds.fill(peer.memory.userfaultfd);
  peer.send_with(fds);
}

void send_overlapping(const Peer& peer) {
  const GuestRegion& region = peer.memory.regions.front();
  const std::vector<GuestRegion> twice = {
      {region.memory, region.size_bytes, 0},
      {region.memory + region.size_bytes / 2, region.size_bytes / 2, region.size_bytes / 2}};
  peer.send(regions_json(twice, peer.page_bytes));
}

/// The same memory at two addresses: what one gives back would be gone from the other.
void send_shared_offsets(const Peer& peer) {
  const GuestRegion& region = peer.memory.regions.front();
  const std::size_t half = region.size_bytes / 2;
  const std::vector<GuestRegion> twice = {{region.memory, half, 0},
                                          {region.memory + half, half, 0}};
  peer.send(regions_json(twice, peer.page_bytes));
}

void send_many_regions(const Peer& peer) {
  const GuestRegion& region = peer.memory.regions.front();
  std::vector<GuestRegion> many;
  for (std::size_t i = 0; i < 500; ++i) many.push_back({region.memory + i * 4096, 4096, i * 4096});
  peer.send(regions_json(many, 4096));
}

/// Forks again and again: each fork event carries a new descriptor to whoever reads it.
void fork_often(const Peer& peer) {
  const int userfaultfd = open_userfaultfd(UFFD_FEATURE_EVENT_FORK);
  std::byte* memory = map_region(peer.page_bytes, false);
  register_memory(userfaultfd, memory, peer.page_bytes);
  const std::array<int, 1> fds = {userfaultfd};
  peer.send_with(fds);
  for (int i = 0; i < 50; ++i) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    ::waitpid(child, nullptr, 0);
  }
}

const std::map<std::string, std::function<void(const Peer&)>>& kinds() {
  static const std::map<std::string, std::function<void(const Peer&)>> known = {
      {"silent", [](const Peer&) {}},
      {"half", [](const Peer& peer) { peer.send(peer.json().substr(0, peer.json().size() / 2)); }},
      {"garbage",
       [](const Peer& peer) { peer.send(std::string("\x00\xff\xfe]}{[\n", 8) + "[1,2"); }},
      {"endless", [](const Peer& peer) { peer.send(std::string(70000, '[')); }},
      {"nested",
       [](const Peer& peer) { peer.send(std::string(30000, '[') + std::string(30000, ']')); }},
      {"scalar", [](const Peer& peer) { peer.send("17"); }},
      {"no-regions", [](const Peer& peer) { peer.send("[]"); }},
      {"many-regions", send_many_regions},
      {"huge-size",
       [](const Peer& peer) { peer.send_region(peer.address(), "18446744073709547520", "0"); }},
      {"huge-offset",
       [](const Peer& peer) { peer.send_region(peer.address(), "4096", "18446744073709547520"); }},
      {"huge-address",
       [](const Peer& peer) { peer.send_region("18446744073709547520", "8192", "0"); }},
      {"huge-number",
       [](const Peer& peer) { peer.send_region("99999999999999999999999999", "4096", "0"); }},
      {"negative", [](const Peer& peer) { peer.send_region("-4096", "4096", "0"); }},
      {"float", [](const Peer& peer) { peer.send_region(peer.address(), "4096.5", "0"); }},
      {"empty-region", [](const Peer& peer) { peer.send_region(peer.address(), "0", "0"); }},
      {"unaligned", [](const Peer& peer) { peer.send_region(peer.address(), "4097", "1"); }},
      {"beyond", [](const Peer& peer) { peer.send_region(peer.address(), "1099511627776", "0"); }},
      {"overlapping", send_overlapping},
      {"shared-offsets", send_shared_offsets},
      {"no-descriptor", [](const Peer& peer) { peer.send_with({}); }},
      {"pipe", send_pipe},
      {"regular-file", send_regular_file},
      {"raw-userfaultfd", send_raw_userfaultfd},
      {"too-many-descriptors", send_too_many_descriptors},
      {"fork", fork_often},
      {"die-after-connect", [](const Peer&) { ::kill(::getpid(), SIGKILL); }},
      {"die-after-handshake",
       [](const Peer& peer) {
         peer.send(peer.json());
         ::kill(::getpid(), SIGKILL);
       }},
  };
  return known;
}

}  // namespace

std::vector<std::string> misbehaviours() {
  std::vector<std::string> names;
  for (const auto& [name, act] : kinds()) names.push_back(name);
  return names;
}

int misbehave(const std::string& kind, const std::string& socket_path, const OfferedMemory& memory,
              std::size_t page_bytes, std::chrono::seconds timeout) {
  const int socket = connect_to(socket_path);
  if (socket < 0) return 1;
  std::puts("connected");
  std::fflush(stdout);
  kinds().at(kind)({socket, memory, page_bytes});
  pollfd waiting{socket, POLLIN | POLLRDHUP, 0};
  const auto wait_ms = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
  return ::poll(&waiting, 1, static_cast<int>(wait_ms)) > 0 ? 0 : 1;
}

}  // namespace lamina::tests
