// A listening TCP socket on a loopback address.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::ui {

struct LoopbackAddress {
  bool is_ipv6 = false;
  std::uint16_t port = 0;  ///< 0: any free one
};

/// Parses "127.0.0.1:PORT", "[::1]:PORT" or "localhost:PORT" (the first). kUsage for anything else.
Result<LoopbackAddress> parse_loopback(const std::string& text);

struct LoopbackListener {
  os::Fd socket;                   ///< non-blocking
  std::string address;             ///< "127.0.0.1:4711"
  std::vector<std::string> hosts;  ///< what a browser may send as Host
};

/// kBusy if the port is in use.
Result<LoopbackListener> listen_on_loopback(const LoopbackAddress& address);

}  // namespace lamina::ui
