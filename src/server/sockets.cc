#include "server/sockets.h"

#include <utility>

#include "base/error.h"
#include "server/store_lock.h"
#include "server/wait_time.h"

namespace lamina::server {

Status Sockets::bind(const StateDirectory& states, std::vector<Endpoint> endpoints,
                     Admission& admission) {
  LAMINA_ASSIGN_OR_RETURN(
      Acceptor acceptor,
      Acceptor::create(states, std::move(endpoints), access_rules_of(options_), {}, admission));
  acceptor_ = std::make_unique<Acceptor>(std::move(acceptor));
  const Status answers = [&]() -> Status {
    if (store_ != nullptr) LAMINA_RETURN_IF_ERROR(bind_control({}));
    return metrics_path().empty() ? Status() : bind_metrics({});
  }();
  if (!answers) close();
  return answers;
}

Status Sockets::inherit(const StateDirectory& states, InheritedState& state,
                        std::vector<Endpoint> endpoints, Admission& admission) {
  for (std::size_t i = 0; i < state.listening.size() && i < endpoints.size(); ++i) {
    state.listening[i].set_path_if_unknown(endpoints[i].path());
  }
  if (state.stopping) endpoints.clear();
  if (!acceptor_) {
    LAMINA_ASSIGN_OR_RETURN(
        Acceptor acceptor, Acceptor::create(states, std::move(endpoints), access_rules_of(options_),
                                            std::move(state.listening), admission));
    acceptor_ = std::make_unique<Acceptor>(std::move(acceptor));
  }
  if (state.control.valid()) LAMINA_RETURN_IF_ERROR(bind_control(std::move(state.control)));
  if (state.metrics.valid()) LAMINA_RETURN_IF_ERROR(bind_metrics(std::move(state.metrics)));
  return {};
}

std::string Sockets::control_path() const { return control_socket_of(store_->path()); }

std::string Sockets::metrics_path() const {
  return store_ != nullptr ? page_server_metrics_socket(store_->path()) : options_.metrics_socket;
}

Status Sockets::bind_control(Listener inherited) {
  LAMINA_ASSIGN_OR_RETURN(
      ControlSocket control,
      ControlSocket::create(control_path(), std::move(inherited), replace_of(options_)));
  control_.emplace(std::move(control));
  return {};
}

Status Sockets::bind_metrics(Listener inherited) {
  LAMINA_ASSIGN_OR_RETURN(
      MetricsSocket metrics,
      MetricsSocket::create(metrics_path(), std::move(inherited), replace_of(options_)));
  metrics_ = std::make_unique<MetricsSocket>(std::move(metrics));
  return {};
}

void Sockets::forget_clients() {
  acceptor_->forget_peers();
  if (metrics_) metrics_->close_copies();
}

Status Sockets::resume(bool listens) {
  if (metrics_) LAMINA_RETURN_IF_ERROR(metrics_->reopen());
  return acceptor_->resume(listens);
}

int Sockets::expire() {
  const int peers_ms = acceptor_->expire();
  const int control_ms = control_ ? control_->expire() : -1;
  return sooner(sooner(peers_ms, control_ms), metrics_ ? metrics_->expire() : -1);
}

void Sockets::close() {
  if (acceptor_) acceptor_->close();
  if (control_) control_->remove();
  if (metrics_) metrics_->remove();
}

}  // namespace lamina::server
