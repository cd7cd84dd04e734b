// Blocking Unix sockets with plain descriptors, also for forked children. Not os/unix_socket.h: a
// stand-in that shared the code under test would share its faults.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace lamina::tests {

/// A listening socket at `path`; -1 on failure.
int listen_at(const std::string& path);

/// A socket connected to `path`; -1 on failure.
int connect_to(const std::string& path);

/// Sends all of `bytes`; false if the peer has closed the connection.
bool send_all(int socket, std::string_view bytes);

/// Sends `text` as one message with descriptors (at most 64); false if it was not sent whole.
bool send_with_descriptors(int socket, std::string text, std::span<const int> descriptors);

}  // namespace lamina::tests
