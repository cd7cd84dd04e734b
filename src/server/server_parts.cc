#include "server/server_parts.h"

#include <poll.h>

#include <chrono>
#include <utility>

#include "base/error.h"
#include "os/poll.h"
#include "os/process.h"
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
      keeper_(std::move(body), log_),
      predecessor_(resources_.snapshots(), openings_, [this](const Ended& ended, const Vm& vm) {
        keeper_.count_unserved(ended, vm);
      }) {}

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
      Takeover::Callbacks{add, [this](const Vm& vm) { keeper_.count_unserved({}, vm); },
                          [this] { ++keeper_.totals().vms_killed; },
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
  LAMINA_RETURN_IF_ERROR(resources_.open_endpoints(openings_));
  return sockets_->bind(resources_.states(), resources_.endpoints(), *admission_);
}

void ServerParts::decide_about_found_vms() {
  using Clock = std::chrono::steady_clock;
  takeover_->begin();
  const Clock::time_point until = Clock::now() + kLongestDecision;
  while (takeover_->is_opening() && Clock::now() < until) {
    pollfd opened{openings_.fd(), POLLIN, 0};
    if (os::wait_for_events({&opened, 1}, kPollMs).value_or(false)) openings_.handle();
  }
}

Status ServerParts::succeed(InheritedState& state, const std::function<Status()>& first) {
  resources_.inherit(state);
  LAMINA_RETURN_IF_ERROR(join());
  RetryPause pause;
  while (true) {
    Status prepared = first();
    if (prepared) prepared = prepare(state);
    if (prepared) break;
    if (state.is_trial || serves_still(state) || state.vms.empty()) return prepared;
    log_(fmt::format("VMs wait for what cannot be had yet: {}", one_line(prepared.error())));
    pause.wait();
  }
  if (state.is_trial) return {};
  if (state.stopping) keeper_.detach();
  // A VM that is accepted now could not be given to the old serving process, should that have to
  // take this one's place.
  sockets_->acceptor().hold(true);
  predecessor_.begin(state);
  return {};
}

Status ServerParts::settle_predecessor() {
  if (auto outcome = predecessor_.take_outcome()) {
    if (!*outcome) return std::unexpected(outcome->error());
    outcome_ = std::move(**outcome);
    if (outcome_->worker > 0) {
      keeper_.replace_inherited(outcome_->worker, std::move(outcome_->worker_pidfd),
                                std::move(outcome_->worker_control));
    }
    sockets_->acceptor().hold(false);
  }
  // One by one: what there is no memory for hits one VM, which is found again by its state.
  while (outcome_ && !outcome_->vms.empty()) {
    Predecessor::InheritedVm one = std::move(outcome_->vms.back());
    outcome_->vms.pop_back();
    add_inherited_vm(std::move(one.vm), std::move(one.service));
  }
  while (outcome_ && !outcome_->unopened.empty()) {
    auto vm = std::move(outcome_->unopened.back());
    outcome_->unopened.pop_back();
    takeover_->add(std::move(vm));
  }
  outcome_.reset();
  return {};
}

std::size_t ServerParts::inherited_count() const {
  const std::size_t taken = outcome_ ? outcome_->vms.size() + outcome_->unopened.size() : 0;
  return predecessor_.vms().size() + taken;
}

Status ServerParts::prepare(InheritedState& state) {
  if (resources_.endpoints().empty())
    LAMINA_RETURN_IF_ERROR(resources_.reopen_endpoints(state, openings_));
  if (state.is_trial) return try_services(state, resources_.snapshots());
  return sockets_->inherit(resources_.states(), state, resources_.endpoints(), *admission_);
}

void ServerParts::add_inherited_vm(std::unique_ptr<Vm> vm, Result<Service> service) {
  if (service) {
    vm->service = std::move(*service);
    return keeper_.add(std::move(vm));
  }
  if (os::has_ended(vm->pidfd.get())) return keeper_.count_unserved({}, *vm);
  keeper_.kill_vm(*vm, one_line(service.error()));
}

HandoverState ServerParts::handover_state(bool stopping) const {
  HandoverState handover = resources_.handover_state();
  if (!stopping) {
    for (const Listener& one : sockets_->acceptor().listening()) handover.listening.push_back(&one);
  }
  handover.control = sockets_->control();
  handover.metrics = sockets_->metrics();
  handover.stopping = stopping;
  handover.vms = takeover_->vms();
  for (const auto& [id, vm] : keeper_.vms()) handover.vms.push_back(vm.get());
  return handover;
}

}  // namespace lamina::server
