// What each request does: a thin layer over the library's public interface.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/events.h"
#include "daemon/http_server.h"
#include "daemon/merger.h"
#include "daemon/metrics.h"
#include "daemon/recoverer.h"
#include "daemon/routes.h"
#include "daemon/store_figures.h"
#include "lamina/remove.h"

namespace lamina::daemon {

/// {"error": {"kind", "message", "notes"}} with the status that stands for the kind.
Response error_response(const Error& error);
/// The same for what HTTP has a status for and we have no kind.
Response refusal(int status, const std::string& message);
/// That of a daemon that stops: {"error": {…, "stopping": true}}, which tells a client that nothing
/// was begun, and that it may do by itself what it can.
Response stopping();
Response json_response(const Json& document);

/// What a snapshot is called in the store: the last part of its path.
std::string name_of(const std::string& path);

/// Thread-safe.
class Api {
 public:
  /// What the requests work on; all of it outlives the Api.
  struct Parts {
    std::string store;
    std::vector<std::string> page_server_command;
    std::function<bool()> are_hooks_allowed;
    std::function<std::string()> policy;
    std::function<std::pair<std::size_t, std::size_t>()> load;  ///< connections, requests
    Metrics& metrics;
    Events& events;
    StoreFigures& figures;
    Merger& merger;
    Recoverer& recoverer;
  };

  explicit Api(Parts parts) : parts_(std::move(parts)) {}

  [[nodiscard]] Response handle(const Request& request) const;
  static Lane lane_of(const Request& request);

 private:
  using Action = Response (Api::*)(const Request& request, const std::string& name) const;

  static Action action_of(Operation operation);

  // api_lifecycle.cc
  [[nodiscard]] Response pause(const Request& request, const std::string& name) const;
  [[nodiscard]] Response resume(const Request& request, const std::string& name) const;
  [[nodiscard]] Response recover(const Request& request, const std::string& name) const;
  /// The refusal of a request that is meant for another store than ours; nothing when it is not.
  [[nodiscard]] std::optional<Response> misdirected(const std::string& store) const;
  // api_snapshots.cc
  [[nodiscard]] Response fork(const Request& request, const std::string& name) const;
  [[nodiscard]] Response list(const Request& request, const std::string& name) const;
  [[nodiscard]] Response inspect(const Request& request, const std::string& name) const;
  [[nodiscard]] Response remove(const Request& request, const std::string& name) const;
  [[nodiscard]] Response remove_several(const Request& request, const std::string& name) const;
  void note_removal(const RemovedSnapshot& removed) const;
  [[nodiscard]] Response compact(const Request& request, const std::string& name) const;
  [[nodiscard]] Response sessions(const Request& request, const std::string& name) const;
  // api_state.cc
  [[nodiscard]] Response events(const Request& request, const std::string& name) const;
  [[nodiscard]] Response health(const Request& request, const std::string& name) const;
  [[nodiscard]] Response version(const Request& request, const std::string& name) const;
  [[nodiscard]] Response openapi(const Request& request, const std::string& name) const;
  [[nodiscard]] Response metrics(const Request& request, const std::string& name) const;

  Parts parts_;
};

}  // namespace lamina::daemon
