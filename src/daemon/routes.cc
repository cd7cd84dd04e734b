#include "daemon/routes.h"

#include <array>
#include <string_view>
#include <utility>

namespace lamina::daemon {
namespace {

constexpr std::string_view kName = "{name}";

constexpr std::array kPatterns = {
    RoutePattern{"POST", "/v1/pause", Queue::kOperations, Operation::kPause},
    RoutePattern{"POST", "/v1/resume", Queue::kOperations, Operation::kResume},
    RoutePattern{"POST", "/v1/fork", Queue::kOperations, Operation::kFork},
    RoutePattern{"POST", "/v1/fork-live", Queue::kOperations, Operation::kForkLive},
    RoutePattern{"POST", "/v1/recover", Queue::kOperations, Operation::kRecover},
    RoutePattern{"POST", "/v1/remove", Queue::kOperations, Operation::kRemoveSeveral},
    RoutePattern{"GET", "/v1/snapshots", Queue::kReads, Operation::kList},
    RoutePattern{"GET", "/v1/snapshots/{name}", Queue::kReads, Operation::kInspect},
    RoutePattern{"DELETE", "/v1/snapshots/{name}", Queue::kOperations, Operation::kRemove},
    RoutePattern{"POST", "/v1/snapshots/{name}/compact", Queue::kOperations, Operation::kCompact},
    RoutePattern{"GET", "/v1/push", Queue::kNone, Operation::kPushQueue},
    RoutePattern{"POST", "/v1/push", Queue::kOperations, Operation::kPush},
    RoutePattern{"POST", "/v1/pull", Queue::kOperations, Operation::kPull},
    RoutePattern{"POST", "/v1/remote/prune", Queue::kOperations, Operation::kPrune},
    RoutePattern{"GET", "/v1/sessions", Queue::kReads, Operation::kSessions},
    RoutePattern{"GET", "/v1/events", Queue::kNone, Operation::kEvents},
    RoutePattern{"GET", "/v1/health", Queue::kNone, Operation::kHealth},
    RoutePattern{"GET", "/v1/version", Queue::kNone, Operation::kVersion},
    RoutePattern{"GET", "/v1/openapi.json", Queue::kNone, Operation::kOpenapi},
    RoutePattern{"GET", "/metrics", Queue::kReads, Operation::kMetrics},
};

/// True if `path` matches `pattern`; sets `name` to the part that matches {name}.
bool matches(std::string_view pattern, std::string_view path, std::string& name) {
  const std::size_t at = pattern.find(kName);
  if (at == std::string_view::npos) return pattern == path;
  const std::string_view before = pattern.substr(0, at);
  const std::string_view after = pattern.substr(at + kName.size());
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) ||
      !path.ends_with(after)) {
    return false;
  }
  const std::string_view found =
      path.substr(before.size(), path.size() - before.size() - after.size());
  if (found.find('/') != std::string_view::npos) return false;
  name = found;
  return true;
}

}  // namespace

std::span<const RoutePattern> route_patterns() { return kPatterns; }

Routing find_route(const Request& request) {
  Routing routing;
  for (const RoutePattern& pattern : kPatterns) {
    if (request.listener == kMetricsListener && pattern.operation != Operation::kMetrics) continue;
    std::string name;
    if (!matches(pattern.path, request.path, name)) continue;
    routing.allowed += (routing.allowed.empty() ? "" : ", ") + std::string(pattern.method);
    if (pattern.method == request.method) {
      routing.route = Route{pattern.operation, pattern.queue, std::move(name)};
    }
  }
  return routing;
}

}  // namespace lamina::daemon
