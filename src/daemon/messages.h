// The requests and responses of the daemon: those of its HTTP server.
#pragma once

#include <cstddef>

#include "http/message.h"

namespace lamina::daemon {

using Request = http::ServerRequest;
using Response = http::ServerResponse;

// The numbers of the listeners: ServerRequest::listener.
inline constexpr std::size_t kApiListener = 0;
inline constexpr std::size_t kMetricsListener = 1;

}  // namespace lamina::daemon
