// A socket that VMs connect to: which peers may connect, and what each one is served.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "os/unix_socket.h"
#include "server/snapshot_request.h"
#include "server/snapshots.h"
#include "server/store_place.h"
#include "server/vm.h"

namespace lamina::server {

/// What a peer gets: the service, or if it is not open yet, the request that opens it.
struct Offer {
  std::optional<Service> service;
  SnapshotRequest request;
};

struct Endpoint {
  std::string socket_path;
  /// Called when a peer's handshake is complete. If it fails, the peer is refused.
  std::function<Result<Offer>(const ClaimedPeer&)> offer_for;
  const StorePlace* store = nullptr;

  /// Where the socket is now.
  [[nodiscard]] std::string path() const {
    return store == nullptr ? socket_path : page_server_socket(store->path());
  }
};

/// Every peer gets the same `service`.
Endpoint endpoint_of(const std::string& socket_path, Service service);

/// Each VM of `store` gets the base of its pin. `store` and `snapshots` must outlive the result.
Endpoint endpoint_of_store(const std::string& socket_path, const StorePlace& store,
                           const Snapshots& snapshots);

/// Which peers may connect, and how.
struct AccessRules {
  std::uint32_t socket_mode = 0600;
  std::string socket_group;          ///< empty: the group of the process
  std::vector<std::uint32_t> users;  ///< besides root and the user of the process
  bool any_user = false;             ///< accept all users; Endpoint::offer_for decides
  os::ReplaceSocket replace = os::ReplaceSocket::kIfDead;
};
AccessRules access_rules_of(const ServeOptions& options);

/// Which existing sockets may be replaced. REQUIRES: if a store is served, it is locked.
os::ReplaceSocket replace_of(const ServeOptions& options);

/// Path of the metrics socket; empty: none.
std::string metrics_socket_of(const ServeOptions& options);

/// kUsage if the options contradict each other, or name nothing to serve.
Status check_serve_options(const ServeOptions& options);

}  // namespace lamina::server
