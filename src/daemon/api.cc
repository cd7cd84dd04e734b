#include "daemon/api.h"

#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/escape.h"
#include "daemon/requests.h"
#include "os/directory.h"

namespace lamina::daemon {
namespace {

unsigned status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage:
      return 400;
    case ErrorKind::kNotFound:
      return 404;
    case ErrorKind::kPermission:
      return 403;
    case ErrorKind::kBusy:
    case ErrorKind::kExists:
      return 409;
    case ErrorKind::kUnsupported:
      return 501;
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

std::string_view kind_of_status(unsigned status) {
  constexpr unsigned kNotFound = 404;
  constexpr unsigned kServerError = 500;
  constexpr unsigned kUnavailable = 503;
  if (status == kNotFound) return "not_found";
  if (status == kUnavailable) return "busy";
  return status < kServerError ? "usage" : "failed";
}

}  // namespace

Queue Api::queue_of(const Request& request) {
  const Routing routing = find_route(request);
  return routing.route ? routing.route->queue : Queue::kNone;
}

Api::Action Api::action_of(Operation operation) {
  switch (operation) {
    case Operation::kPause:
      return &Api::pause;
    case Operation::kResume:
      return &Api::resume;
    case Operation::kFork:
      return &Api::fork;
    case Operation::kForkLive:
      return &Api::fork_live;
    case Operation::kRecover:
      return &Api::recover;
    case Operation::kRemoveSeveral:
      return &Api::remove_several;
    case Operation::kList:
      return &Api::list;
    case Operation::kInspect:
      return &Api::inspect;
    case Operation::kRemove:
      return &Api::remove;
    case Operation::kCompact:
      return &Api::compact;
    case Operation::kSessions:
      return &Api::sessions;
    case Operation::kEvents:
      return &Api::events;
    case Operation::kHealth:
      return &Api::health;
    case Operation::kVersion:
      return &Api::version;
    case Operation::kOpenapi:
      return &Api::openapi;
    case Operation::kMetrics:
      return &Api::metrics;
    case Operation::kPushQueue:
      return &Api::push_queue;
    case Operation::kPush:
      return &Api::push;
    case Operation::kPull:
      return &Api::pull;
    case Operation::kPrune:
      return &Api::prune;
  }
  return nullptr;
}

Response Api::handle(const Request& request) const {
  const Routing routing = find_route(request);
  if (routing.route) {
    const Action action = action_of(routing.route->operation);
    return (this->*action)(request, routing.route->name);
  }
  if (routing.allowed.empty()) {
    return refusal(404, fmt::format("there is no '{}'", escaped_value(request.path)));
  }
  Response response = refusal(405, fmt::format("'{}' takes {}, not {}", escaped_value(request.path),
                                               routing.allowed, escaped_value(request.method)));
  response.allow = routing.allowed;
  return response;
}

Response json_response(const Json& document) {
  constexpr int kIndent = 2;
  Response response;
  response.body = schema::json_text(document, kIndent) + "\n";
  return response;
}

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Response error_response(const Error& error) {
  Json fields = {{"kind", word_of(error.kind)}, {"message", error.message}};
  if (const std::string remedy = schema::remedy_of(error); !remedy.empty()) {
    fields["remedy"] = remedy;
  }
  fields["notes"] = error.notes;
  Response response = json_response({{"error", std::move(fields)}});
  response.status = status_of(error.kind);
  return response;
}

Response refusal(unsigned status, const std::string& message) {
  Response response = json_response(
      {{"error",
        {{"kind", kind_of_status(status)}, {"message", message}, {"notes", Json::array()}}}});
  response.status = status;
  return response;
}

Response stopping() {
  constexpr unsigned kUnavailable = 503;
  Response response = json_response({{"error",
                                      {{"kind", kind_of_status(kUnavailable)},
                                       {"message", "the daemon is stopping"},
                                       {"notes", Json::array()},
                                       {"stopping", true}}}});
  response.status = kUnavailable;
  return response;
}

std::optional<Response> Api::refuse_other_store(const std::string& store) const {
  constexpr unsigned kMisdirected = 421;
  if (store.empty() || os::is_same_directory(store, parts_.store)) return std::nullopt;
  return refusal(kMisdirected,
                 fmt::format("this daemon keeps store '{}', not '{}'", parts_.store, store));
}

}  // namespace lamina::daemon
