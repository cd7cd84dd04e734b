// What a request asks for, by its method and its path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

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

/// Thread-safe.
Routing find_route(const Request& request);

}  // namespace lamina::daemon
