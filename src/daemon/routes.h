// What a request asks for, by its method and its path.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "daemon/http_server.h"

namespace lamina::daemon {

enum class Operation : std::uint8_t {
  kPause,
  kResume,
  kFork,
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
};

struct Route {
  Operation operation;
  Lane lane;
  std::string name;  ///< what stands for {name} in the path: not empty, no slash, else anything
};

struct Routing {
  std::optional<Route> route;
  std::string allowed;  ///< methods of the path; empty: there is no such path
};

/// A method of a path, in which {name} stands for a snapshot's name.
struct RoutePattern {
  std::string_view method;
  std::string_view path;
  Lane lane;
  Operation operation;
};

/// All of them; those of one path are next to each other.
std::span<const RoutePattern> route_patterns();

/// Thread-safe.
Routing find_route(const Request& request);

}  // namespace lamina::daemon
