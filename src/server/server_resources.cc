#include "server/server_resources.h"

#include <fcntl.h>

#include <string>
#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/path_walk.h"
#include "server/named_snapshots.h"
#include "server/store_lock.h"

namespace lamina::server {

Status ServerResources::open() {
  LAMINA_ASSIGN_OR_RETURN(StateDirectory states,
                          StateDirectory::open(options_.state_dir, options_.store));
  states_ = std::make_unique<StateDirectory>(std::move(states));
  if (options_.store.empty()) return {};
  LAMINA_ASSIGN_OR_RETURN(store_lock_, lock_store(options_.store));
  LAMINA_ASSIGN_OR_RETURN(StorePlace store, StorePlace::open(options_.store));
  store_.emplace(std::move(store));
  return {};
}

Status ServerResources::open_endpoints(Openings& openings) {
  LAMINA_ASSIGN_OR_RETURN(std::vector<Service> services,
                          open_named_snapshots(options_.endpoints, snapshots_, openings));
  for (std::size_t i = 0; i < services.size(); ++i) {
    endpoints_.push_back(endpoint_of(options_.endpoints[i].socket, std::move(services[i])));
  }
  add_store_endpoint();
  return {};
}

void ServerResources::inherit(InheritedState& state) {
  states_ = std::make_unique<StateDirectory>(std::move(state.states));
  store_ = std::move(state.store);
  log_file_ = std::move(state.log);
  store_lock_ = std::move(state.store_lock);
}

Status ServerResources::reopen_endpoints(InheritedState& state, Openings& openings) {
  std::vector<Result<Service>> services =
      try_named_snapshots(options_.endpoints, snapshots_, openings);
  std::vector<Listener> listening;
  for (std::size_t i = 0; i < services.size(); ++i) {
    const ServeEndpoint& endpoint = options_.endpoints[i];
    Result<Service>& service = services[i];
    const bool is_inherited = i < state.listening.size();
    if (is_inherited) state.listening[i].set_path_if_unknown(endpoint.socket);
    if (!service) {
      log_(fmt::format("VMs cannot connect to '{}' any more: {}", endpoint.socket,
                       one_line(service.error())));
      if (!state.is_trial && is_inherited) state.listening[i].remove();
      continue;
    }
    endpoints_.push_back(endpoint_of(endpoint.socket, std::move(*service)));
    if (is_inherited) listening.push_back(std::move(state.listening[i]));
  }
  if (!store_) state.listening = std::move(listening);
  add_store_endpoint();
  return {};
}

void ServerResources::add_store_endpoint() {
  if (!store_) return;
  snapshots_.set_store(*store_);
  const std::string socket = page_server_socket(store_->path());
  endpoints_.push_back(endpoint_of_store(socket, *store_, snapshots_));
  const std::string area = os::parent_of(socket);
  const auto directory = os::open_directory(AT_FDCWD, area, area);
  rotates_log_ = directory && log_file_.is_in(directory->get(), kStoreLogName);
}

HandoverState ServerResources::handover_state() const {
  return {.states = *states_,
          .store = store(),
          .log = log_file_,
          .listening = {},
          .control = nullptr,
          .metrics = nullptr,
          .store_lock = store_lock_.get(),
          .worker = -1,
          .worker_control = -1,
          .stopping = false,
          .vms = {}};
}

}  // namespace lamina::server
