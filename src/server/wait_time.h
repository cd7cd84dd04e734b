// Timeouts as poll(2) takes them: milliseconds, -1 for no timeout.
#pragma once

#include <algorithm>

namespace lamina::server {

/// The earlier of two timeouts.
inline int sooner(int a_ms, int b_ms) {
  if (a_ms < 0) return b_ms;
  return b_ms < 0 ? a_ms : std::min(a_ms, b_ms);
}

}  // namespace lamina::server
