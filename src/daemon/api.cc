#include "daemon/api.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "sys/directory.h"

namespace lamina::daemon {
namespace {

constexpr std::string_view kName = "{name}";

int status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage:
      return 400;
    case ErrorKind::kNotFound:
      return 404;
    case ErrorKind::kBusy:
      return 409;
    case ErrorKind::kNoSpace:
      return 507;
    case ErrorKind::kInterrupted:
      return 503;
    case ErrorKind::kCorrupt:
    case ErrorKind::kFailed:
      break;
  }
  return 500;
}

std::string_view kind_of_status(int status) {
  constexpr int kNotFound = 404;
  constexpr int kServerError = 500;
  constexpr int kUnavailable = 503;
  if (status == kNotFound) return "not_found";
  if (status == kUnavailable) return "busy";
  return status < kServerError ? "usage" : "failed";
}

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

struct Api::Route {
  std::string_view method;
  std::string_view path;
  Lane lane;
  Action action;
};

struct Api::Match {
  const Route* route = nullptr;
  std::string name;
  std::string allowed;  ///< methods of the path; empty: there is no such path
};

const std::vector<Api::Route>& Api::routes() {
  static const std::vector<Route> table = {
      {"POST", "/v1/pause", Lane::kLong, &Api::pause},
      {"POST", "/v1/resume", Lane::kLong, &Api::resume},
      {"POST", "/v1/fork", Lane::kLong, &Api::fork},
      {"POST", "/v1/recover", Lane::kLong, &Api::recover},
      {"POST", "/v1/remove", Lane::kLong, &Api::remove_several},
      {"GET", "/v1/snapshots", Lane::kQuick, &Api::list},
      {"GET", "/v1/snapshots/{name}", Lane::kQuick, &Api::inspect},
      {"DELETE", "/v1/snapshots/{name}", Lane::kLong, &Api::remove},
      {"POST", "/v1/snapshots/{name}/compact", Lane::kLong, &Api::compact},
      {"GET", "/v1/sessions", Lane::kQuick, &Api::sessions},
      {"GET", "/v1/events", Lane::kAtOnce, &Api::events},
      {"GET", "/v1/health", Lane::kAtOnce, &Api::health},
      {"GET", "/v1/version", Lane::kAtOnce, &Api::version},
      {"GET", "/v1/openapi.json", Lane::kAtOnce, &Api::openapi},
      {"GET", "/metrics", Lane::kQuick, &Api::metrics},
  };
  return table;
}

Api::Match Api::find(const Request& request) {
  Match match;
  for (const Route& route : routes()) {
    if (request.door == Door::kMetrics && route.action != &Api::metrics) continue;
    std::string name;
    if (!matches(route.path, request.path, name)) continue;
    match.allowed += (match.allowed.empty() ? "" : ", ") + std::string(route.method);
    if (route.method == request.method) {
      match.route = &route;
      match.name = std::move(name);
    }
  }
  return match;
}

Lane Api::lane_of(const Request& request) {
  const Match match = find(request);
  return match.route == nullptr ? Lane::kAtOnce : match.route->lane;
}

Response Api::handle(const Request& request) const {
  const Match match = find(request);
  if (match.route != nullptr) return (this->*match.route->action)(request, match.name);
  if (match.allowed.empty()) {
    return refusal(404, fmt::format("there is no '{}'", request.path));
  }
  Response response = refusal(
      405, fmt::format("'{}' takes {}, not {}", request.path, match.allowed, request.method));
  response.allow = match.allowed;
  return response;
}

Response json_response(const Json& document) {
  constexpr int kIndent = 2;
  Response response;
  response.body = report::json_text(document, kIndent) + "\n";
  return response;
}

Response error_response(const Error& error) {
  Response response = json_response({{"error",
                                      {{"kind", report::kind_name(error.kind)},
                                       {"message", report::message_of(error)},
                                       {"notes", error.notes}}}});
  response.status = status_of(error.kind);
  return response;
}

Response refusal(int status, const std::string& message) {
  Response response = json_response(
      {{"error",
        {{"kind", kind_of_status(status)}, {"message", message}, {"notes", Json::array()}}}});
  response.status = status;
  return response;
}

Response stopping() {
  constexpr int kUnavailable = 503;
  Response response = json_response({{"error",
                                      {{"kind", kind_of_status(kUnavailable)},
                                       {"message", "the daemon is stopping"},
                                       {"notes", Json::array()},
                                       {"stopping", true}}}});
  response.status = kUnavailable;
  return response;
}

std::optional<Response> Api::misdirected(const std::string& store) const {
  constexpr int kMisdirected = 421;
  if (store.empty() || sys::is_same_directory(store, parts_.store)) return std::nullopt;
  return refusal(kMisdirected,
                 fmt::format("this daemon keeps store '{}', not '{}'", parts_.store, store));
}

Result<std::string> snapshot_path(const std::string& store, const std::string& name) {
  if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos ||
      name.starts_with('.')) {
    return fail(ErrorKind::kUsage, "'{}' is no name of a snapshot", name);
  }
  return store + "/" + name;
}

}  // namespace lamina::daemon
