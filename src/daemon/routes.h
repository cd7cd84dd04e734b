// The operation of a request, by its method and its path.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "daemon/messages.h"

namespace lamina::daemon {

enum class Operation : std::uint8_t {
  kPause,
  kResume,
  kFork,
  kForkLive,
  kRecover,
  kRemoveSeveral,
  kList,
  kInspect,
  kRemove,
  kCompact,
  kSessions,
  kEvents,
  kHealth,
  kVersion,
  kOpenapi,
  kMetrics,
  kPushQueue,
  kPush,
  kPull,
  kPrune,
};

/// The threads that handle a request.
enum class Queue : std::uint8_t {
  kNone,        ///< the server's own thread: the request never waits
  kReads,       ///< requests that read the store
  kOperations,  ///< requests that pause, resume, …
};

struct Route {
  Operation operation;
  Queue queue;
  std::string name;  ///< {name} of the path: not empty, no slash, otherwise any bytes
};

struct Routing {
  std::optional<Route> route;
  std::string allowed;  ///< the methods of the path; empty: the path does not exist
};

/// A method of a path, which may contain {name}, the name of a snapshot.
struct RoutePattern {
  std::string_view method;
  std::string_view path;
  Queue queue;
  Operation operation;
};

/// All patterns; those of one path are next to each other.
std::span<const RoutePattern> route_patterns();

/// Thread-safe.
Routing find_route(const Request& request);

}  // namespace lamina::daemon
