#include "daemon/routes.h"

#include <array>
#include <string_view>
#include <utility>

namespace lamina::daemon {
namespace {

constexpr std::string_view kName = "{name}";

constexpr std::array kPatterns = {
    RoutePattern{"POST", "/v1/pause", Lane::kLong, Operation::kPause},
    RoutePattern{"POST", "/v1/resume", Lane::kLong, Operation::kResume},
    RoutePattern{"POST", "/v1/fork", Lane::kLong, Operation::kFork},
    RoutePattern{"POST", "/v1/recover", Lane::kLong, Operation::kRecover},
    RoutePattern{"POST", "/v1/remove", Lane::kLong, Operation::kRemoveSeveral},
    RoutePattern{"GET", "/v1/snapshots", Lane::kQuick, Operation::kList},
    RoutePattern{"GET", "/v1/snapshots/{name}", Lane::kQuick, Operation::kInspect},
    RoutePattern{"DELETE", "/v1/snapshots/{name}", Lane::kLong, Operation::kRemove},
    RoutePattern{"POST", "/v1/snapshots/{name}/compact", Lane::kLong, Operation::kCompact},
    RoutePattern{"GET", "/v1/sessions", Lane::kQuick, Operation::kSessions},
    RoutePattern{"GET", "/v1/events", Lane::kAtOnce, Operation::kEvents},
    RoutePattern{"GET", "/v1/health", Lane::kAtOnce, Operation::kHealth},
    RoutePattern{"GET", "/v1/version", Lane::kAtOnce, Operation::kVersion},
    RoutePattern{"GET", "/v1/openapi.json", Lane::kAtOnce, Operation::kOpenapi},
    RoutePattern{"GET", "/metrics", Lane::kQuick, Operation::kMetrics},
};

/// True when `path` is `pattern`; what stands for {name} goes to `name`.
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
    if (request.door == Door::kMetrics && pattern.operation != Operation::kMetrics) continue;
    std::string name;
    if (!matches(pattern.path, request.path, name)) continue;
    routing.allowed += (routing.allowed.empty() ? "" : ", ") + std::string(pattern.method);
    if (pattern.method == request.method) {
      routing.route = Route{pattern.operation, pattern.lane, std::move(name)};
    }
  }
  return routing;
}

}  // namespace lamina::daemon
