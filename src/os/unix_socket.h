// Unix sockets at paths. A path may be longer than an address holds (107 bytes): then it is reached
// through its directory, opened, which needs /proc.
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

/// What a new socket may take the place of.
enum class ReplaceSocket : std::uint8_t {
  kIfDead,  ///< a socket at which no process listens any more
  kAlways,  ///< any socket: the caller knows that a process which listens there is ending
};

/// How a socket at a path is made.
struct SocketAccess {
  std::uint32_t mode = 0600;
  std::string group;  ///< empty: left alone
  ReplaceSocket replace = ReplaceSocket::kIfDead;
};

/// A listening, non-blocking stream socket at `path`, with its mode and group set before anybody
/// can connect. A socket that may be replaced is; kBusy when somebody listens at one that may not;
/// anything else at the path is kFailed.
Result<Fd> listen_at(const std::string& path, const SocketAccess& access);

/// Connects to a listening socket, whatever the length of its path. kNotFound when there is none.
/// While it accepts nobody (its backlog is full) this waits: for ever, or for `wait` and then fails
/// with kBusy.
Result<Fd> connect_to(const std::string& path,
                      std::optional<std::chrono::milliseconds> wait = std::nullopt);

/// recv(2) fails with EAGAIN (kBusy) after `wait`.
Status limit_receiving(int socket, std::chrono::milliseconds wait);

/// The next connection, non-blocking; nothing when none waits.
Result<std::optional<Fd>> accept_connection(int listening, const std::string& path);

/// Two connected sockets that keep messages apart (SOCK_SEQPACKET), non-blocking on neither side.
Result<std::pair<Fd, Fd>> message_socket_pair();

enum class WhenFull : std::uint8_t { kWait, kFail };

/// Sends one message with descriptors. kFailed when the other end is closed, kBusy when it has not
/// read what was sent before and `when_full` is kFail.
Status send_message(int socket, std::span<const std::byte> message, std::span<const int> fds,
                    WhenFull when_full);

/// Every descriptor that came with a message (SCM_RIGHTS).
std::vector<Fd> take_descriptors(msghdr& message);

/// A received message; empty when the other end is closed.
struct Message {
  std::vector<std::byte> bytes;
  std::vector<Fd> fds;
};

/// Receives one message of at most `max_bytes`, waiting for it.
Result<Message> receive_message(int socket, std::size_t max_bytes);

}  // namespace lamina::os
