#include "server/server_parts.h"

#include <poll.h>

#include <chrono>
#include <utility>

#include "base/error.h"
#include "os/process.h"
#include "server/predecessor.h"
#include "server/retry_pause.h"

namespace lamina::server {
namespace {

/// A start that fails decides first what becomes of VMs that wait, for so long at most.
constexpr std::chrono::seconds kLongestDecision{10};
constexpr int kPollMs = 100;

}  // namespace

ServerParts::ServerParts(const ServeOptions& options, Log log, WorkerProcess::Body body)
    : options_(options),
      log_(std::move(log)),
      resources_(options, log_),
      openings_(resources_.snapshots(), log_),
      keeper_(std::move(body), log_) {}

/// What needs the state directory.
Status ServerParts::join() {
  const StateDirectory& states = resources_.states();
  const auto add = [this](std::unique_ptr<Vm> vm) { keeper_.add(std::move(vm)); };
  admission_ =
      std::make_unique<Admission>(states, openings_, add, [this](const std::string& reason) {
        ++keeper_.totals().peers_refused;
        log_(reason);
      });
  takeover_ = std::make_unique<Takeover>(
      states, resources_.snapshots(), openings_,
      Takeover::Callbacks{add, [this] { ++keeper_.totals().vms_killed; },
                          [this] { ++keeper_.totals().vms_reacquired; }, log_});
  keeper_.set_states(states);
  sockets_ = std::make_unique<Sockets>(options_, resources_.store());
  if (resources_.store() != nullptr) stranded_.set_store(*resources_.store());
  return openings_.start();
}

Status ServerParts::start() {
  LAMINA_RETURN_IF_ERROR(resources_.open());
  LAMINA_RETURN_IF_ERROR(join());
  const Status listens = listen();
  if (!listens) decide_about_found_vms();
  return listens;
}

Status ServerParts::listen() {
  LAMINA_RETURN_IF_ERROR(resources_.open_endpoints());
  return sockets_->bind(resources_.states(), resources_.endpoints(), *admission_);
}

void ServerParts::decide_about_found_vms() {
  using Clock = std::chrono::steady_clock;
  takeover_->begin();
  const Clock::time_point until = Clock::now() + kLongestDecision;
  while (takeover_->is_opening() && Clock::now() < until) {
    pollfd opened{openings_.fd(), POLLIN, 0};
    if (::poll(&opened, 1, kPollMs) > 0) openings_.handle();
  }
}

Status ServerParts::succeed(InheritedState& state, const std::function<Status()>& first) {
  resources_.inherit(state);
  LAMINA_RETURN_IF_ERROR(join());
  std::vector<Result<Service>> services;
  RetryPause pause;
  while (true) {
    Status prepared = first();
    if (prepared) prepared = prepare(state, services);
    if (prepared) break;
    if (state.is_trial || serves_still(state) || state.vms.empty()) return prepared;
    log_(fmt::format("VMs wait for what cannot be had yet: {}", prepared.error().message));
    pause.wait();
  }
  if (state.is_trial) return {};
  end_serving_process(state);
  if (state.stopping) keeper_.detach();
  for (std::size_t i = 0; i < state.vms.size(); ++i) {
    add_left_vm(std::move(state.vms[i]), std::move(services[i]));
  }
  return {};
}

Status ServerParts::prepare(InheritedState& state, std::vector<Result<Service>>& services) {
  if (resources_.endpoints().empty()) LAMINA_RETURN_IF_ERROR(resources_.reopen_endpoints(state));
  LAMINA_ASSIGN_OR_RETURN(services, open_services(state, resources_.snapshots()));
  if (state.is_trial) return {};
  return sockets_->inherit(resources_.states(), state, resources_.endpoints(), *admission_);
}

void ServerParts::add_left_vm(std::unique_ptr<Vm> vm, Result<Service> service) {
  if (service) {
    vm->service = std::move(*service);
    return keeper_.add(std::move(vm));
  }
  if (os::has_ended(vm->pidfd.get())) return resources_.states().remove(vm->directory);
  keeper_.kill_vm(*vm, service.error().message);
}

StateToLeave ServerParts::to_leave(bool stopping) const {
  StateToLeave left = resources_.to_leave();
  if (!stopping) {
    for (const Listener& one : sockets_->acceptor().listening()) left.listening.push_back(&one);
  }
  left.control = sockets_->control();
  left.metrics = sockets_->metrics();
  left.stopping = stopping;
  left.vms = takeover_->vms();
  for (const auto& [id, vm] : keeper_.vms()) left.vms.push_back(vm.get());
  return left;
}

}  // namespace lamina::server
