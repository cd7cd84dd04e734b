// Unix sockets. A path may be longer than a socket address (107 bytes): then it is reached through
// a descriptor of its directory, which needs /proc.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// The longest path in the address of a socket. Programs that do not shorten paths, as Firecracker,
/// cannot connect to a longer one.
inline constexpr std::size_t kMaxSocketPathBytes = 107;

/// When a new socket may replace one that already exists at its path.
enum class ReplaceSocket : std::uint8_t {
  kIfDead,  ///< if no process listens on it
  kAlways,  ///< the caller knows that the process that listens on it is about to end
};

/// How listen_at() creates a socket.
struct SocketAccess {
  std::uint32_t mode = 0600;
  std::string group;  ///< empty: not changed
  ReplaceSocket replace = ReplaceSocket::kIfDead;
  bool directory_is_locked = false;  ///< by the caller: it is not locked again
};

/// Creates a non-blocking listening stream socket at `path` and sets its mode and group before a
/// client can connect. Replaces an existing socket if `access.replace` permits; kBusy if a process
/// listens on it, kFailed if the path exists and is not a socket.
Result<Fd> listen_at(const std::string& path, const SocketAccess& access);

/// Connects to a socket at a path of any length. kNotFound if no process listens there. While the
/// backlog is full, waits without limit, or for `wait` and then fails with kBusy.
Result<Fd> connect_to(const std::string& path,
                      std::optional<std::chrono::milliseconds> wait = std::nullopt);

/// Sets SO_RCVTIMEO: recv(2) then fails with EAGAIN (kBusy) after `wait`.
Status limit_receiving(int socket, std::chrono::milliseconds wait);

/// The next connection, non-blocking; nullopt if none is pending.
Result<std::optional<Fd>> accept_connection(int listening, const std::string& path);

/// Two connected blocking sockets that preserve message boundaries (SOCK_SEQPACKET).
Result<std::pair<Fd, Fd>> message_socket_pair();

enum class WhenFull : std::uint8_t { kWait, kFail };

/// Sends one message with descriptors. kFailed if the other end is closed, kBusy if the socket
/// buffer is full and `when_full` is kFail.
Status send_message(int socket, std::span<const std::byte> message, std::span<const int> fds,
                    WhenFull when_full);

/// The descriptors received with a message (SCM_RIGHTS).
std::vector<Fd> take_descriptors(msghdr& message);

/// A received message; empty if the other end is closed.
struct Message {
  std::vector<std::byte> bytes;
  std::vector<Fd> fds;
};

/// Waits for and receives one message of at most `max_bytes`.
Result<Message> receive_message(int socket, std::size_t max_bytes);

}  // namespace lamina::os
