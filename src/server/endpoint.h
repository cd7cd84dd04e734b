// A socket to listen at: who may connect, and what is served to those who do.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "os/unix_socket.h"
#include "server/snapshots.h"
#include "server/store_place.h"
#include "server/vm.h"

namespace lamina::server {

struct Endpoint {
  std::string socket_path;
  /// Asked when a peer's handshake is whole; a peer for whom it fails is refused.
  std::function<Result<Service>(const ClaimedPeer&)> service_for;
  const StorePlace* store = nullptr;

  /// Where the socket is now.
  [[nodiscard]] std::string path() const {
    return store == nullptr ? socket_path : page_server_socket(store->path());
  }
};

/// The same for everybody.
Endpoint endpoint_of(const std::string& socket_path, Service service);

/// Each VM of `store` gets what its pin keeps. `store` and `snapshots` must outlive it; notes go to
/// `log`, which may be empty.
Endpoint endpoint_of_store(const std::string& socket_path, const StorePlace& store,
                           Snapshots& snapshots, std::function<void(const std::string&)> log);

/// Who may connect, and how.
struct AccessRules {
  std::uint32_t socket_mode = 0600;
  std::string socket_group;          ///< empty: the group of the process
  std::vector<std::uint32_t> users;  ///< besides root and the user of the process
  bool any_user = false;             ///< Endpoint::service_for says who is served
  os::AtPath at_path = os::AtPath::kNobody;
};
AccessRules access_rules_of(const ServeOptions& options);

/// What the sockets of these options may take the place of. REQUIRES: a store is locked.
os::AtPath at_path_of(const ServeOptions& options);

/// Where metrics are answered; empty: nowhere.
std::string metrics_socket_of(const ServeOptions& options);

/// kUsage when the options contradict each other, or name nothing to serve.
Status check_serve_options(const ServeOptions& options);

}  // namespace lamina::server
