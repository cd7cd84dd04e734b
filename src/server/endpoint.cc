#include "server/endpoint.h"

#include <utility>

#include "base/error.h"
#include "server/pinned_vm.h"

namespace lamina::server {
namespace {

Status check_store_options(const ServeOptions& options) {
  if (!options.endpoints.empty()) {
    return fail(ErrorKind::kUsage,
                "store '{}' and snapshot '{}' cannot be served by one server; start two",
                options.store, options.endpoints.front().snapshot);
  }
  if (!options.allowed_users.empty()) {
    return fail(
        ErrorKind::kUsage,
        "user {} cannot be allowed to connect: the pins of store '{}' say which VMs are served",
        options.allowed_users.front(), options.store);
  }
  if (!options.metrics_socket.empty()) {
    return fail(ErrorKind::kUsage,
                "'{}' is given for metrics; those of the page server of store '{}' are at '{}'",
                options.metrics_socket, options.store, page_server_metrics_socket(options.store));
  }
  return {};
}

}  // namespace

Endpoint endpoint_of(const std::string& socket_path, Service service) {
  return {socket_path,
          [service = std::move(service)](const ClaimedPeer&) -> Result<Offer> {
            return Offer{service, {}};
          },
          nullptr};
}

Endpoint endpoint_of_store(const std::string& socket_path, const StorePlace& store,
                           const Snapshots& snapshots) {
  return {socket_path,
          [&store, &snapshots](const ClaimedPeer& claimed) -> Result<Offer> {
            LAMINA_ASSIGN_OR_RETURN(const VmPin pin,
                                    pin_of_peer(store.path(), claimed.peer, claimed.start_time));
            return Offer{std::nullopt, snapshots.request_for(pin)};
          },
          &store};
}

os::ReplaceSocket replace_of(const ServeOptions& options) {
  // The store's lock is held: only a process that was killed may still listen at its sockets.
  return options.store.empty() ? os::ReplaceSocket::kIfDead : os::ReplaceSocket::kAlways;
}

std::string metrics_socket_of(const ServeOptions& options) {
  return options.store.empty() ? options.metrics_socket : page_server_metrics_socket(options.store);
}

AccessRules access_rules_of(const ServeOptions& options) {
  constexpr std::uint32_t kOwnUser = 0600;
  constexpr std::uint32_t kAllUsers = 0666;
  const bool is_store = !options.store.empty();
  return {options.socket_mode.value_or(is_store ? kAllUsers : kOwnUser), options.socket_group,
          options.allowed_users, is_store, replace_of(options)};
}

Status check_serve_options(const ServeOptions& options) {
  if (!options.store.empty()) return check_store_options(options);
  if (options.endpoints.empty()) return fail(ErrorKind::kUsage, "there is nothing to serve");
  for (std::size_t i = 0; i < options.endpoints.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (options.endpoints[i].socket == options.endpoints[j].socket) {
        return fail(ErrorKind::kUsage, "'{}' is given for two snapshots",
                    options.endpoints[i].socket);
      }
    }
    if (options.endpoints[i].socket == options.metrics_socket) {
      return fail(ErrorKind::kUsage, "'{}' is given for a snapshot and for metrics",
                  options.metrics_socket);
    }
  }
  return {};
}

}  // namespace lamina::server
