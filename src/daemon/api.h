// The operations of the HTTP API (docs/api.md): a thin layer over the library's public interface.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/events.h"
#include "daemon/merger.h"
#include "daemon/messages.h"
#include "daemon/metrics.h"
#include "daemon/pusher.h"
#include "daemon/recoverer.h"
#include "daemon/routes.h"
#include "daemon/store_status.h"
#include "lamina/remote.h"
#include "lamina/remove.h"
#include "schema/remote_requests.h"

namespace lamina::daemon {

/// {"error": {"kind", "message", "notes"}} with the status of the kind.
Response error_response(const Error& error);
/// The same for an HTTP status that no kind of error stands for.
Response refusal(unsigned status, const std::string& message);
/// The response of a daemon that is stopping: {"error": {…, "stopping": true}}. It tells the client
/// that nothing was begun, so the client may do the work itself.
Response stopping();
Response json_response(const Json& document);

/// The name of a snapshot: the last part of its path.
std::string name_of(const std::string& path);

/// Thread-safe.
class Api {
 public:
  /// What the operations use; all of it outlives the Api.
  struct Parts {
    std::string store;
    std::vector<std::string> page_server_command;
    std::uint64_t freeze_memory;   ///< of pauses that do not say
    std::string freeze_directory;  ///< the same
    std::function<bool()> are_hooks_allowed;
    std::function<std::string()> policy;
    std::function<std::pair<std::size_t, std::size_t>()> load;  ///< connections, requests
    Metrics& metrics;
    Events& events;
    StoreStatus& status;
    Merger& merger;
    Recoverer& recoverer;
    Pusher& pusher;
  };

  explicit Api(Parts parts) : parts_(std::move(parts)) {}

  [[nodiscard]] Response handle(const Request& request) const;
  static Queue queue_of(const Request& request);

 private:
  using Action = Response (Api::*)(const Request& request, const std::string& name) const;

  static Action action_of(Operation operation);

  // api_lifecycle.cc
  [[nodiscard]] Response pause(const Request& request, const std::string& name) const;
  [[nodiscard]] Response resume(const Request& request, const std::string& name) const;
  [[nodiscard]] Response recover(const Request& request, const std::string& name) const;
  /// Fills in what the daemon knows. A refusal if the pause needs what this daemon does not do.
  [[nodiscard]] std::optional<Response> complete(PauseOptions& options) const;
  // api_live_fork.cc
  [[nodiscard]] Response fork_live(const Request& request, const std::string& name) const;
  /// The refusal (421) of a request for another store; empty if `store` is this daemon's or empty.
  [[nodiscard]] std::optional<Response> refuse_other_store(const std::string& store) const;
  // api_snapshots.cc
  [[nodiscard]] Response fork(const Request& request, const std::string& name) const;
  [[nodiscard]] Response list(const Request& request, const std::string& name) const;
  [[nodiscard]] Response inspect(const Request& request, const std::string& name) const;
  [[nodiscard]] Response remove(const Request& request, const std::string& name) const;
  [[nodiscard]] Response remove_several(const Request& request, const std::string& name) const;
  void record_removal(const RemovedSnapshot& removed) const;
  [[nodiscard]] Response compact(const Request& request, const std::string& name) const;
  [[nodiscard]] Response sessions(const Request& request, const std::string& name) const;
  // api_remote.cc
  [[nodiscard]] Response push_queue(const Request& request, const std::string& name) const;
  [[nodiscard]] Response push(const Request& request, const std::string& name) const;
  [[nodiscard]] Response pull(const Request& request, const std::string& name) const;
  [[nodiscard]] Response prune(const Request& request, const std::string& name) const;
  /// Pulls with the daemon's key, and from its bucket if the options have none.
  [[nodiscard]] Result<LazyPullReport> pull_into_store(LazyPullOptions options, bool is_lazy) const;
  /// Pulls a snapshot that the store does not have, or begins that. Until the result is dropped,
  /// what arrives is not given up.
  [[nodiscard]] Result<std::shared_ptr<const void>> pull_if_missing(
      const schema::ResumeRequest& request) const;
  /// Enforces the bound of the cache after a resume of `name`, if there is one. Failures are
  /// events.
  void bound_cache_after_resume(const std::string& name) const;
  // api_state.cc
  [[nodiscard]] Response events(const Request& request, const std::string& name) const;
  [[nodiscard]] Response health(const Request& request, const std::string& name) const;
  [[nodiscard]] Response version(const Request& request, const std::string& name) const;
  [[nodiscard]] Response openapi(const Request& request, const std::string& name) const;
  [[nodiscard]] Response metrics(const Request& request, const std::string& name) const;

  Parts parts_;
};

}  // namespace lamina::daemon
