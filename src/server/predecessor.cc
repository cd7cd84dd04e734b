#include "server/predecessor.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/error.h"
#include "os/process.h"
#include "os/unix_socket.h"

namespace lamina::server {
namespace {

/// From one snapshot that opens to the next. A trial has just read the same, so it is in memory.
constexpr std::chrono::seconds kLongestWithoutOpening{20};
/// For a serving process that was killed: one that a tracer holds at its end does not serve either.
constexpr std::chrono::seconds kLongestEnd{10};

/// Whether it stays so, whatever is tried.
bool is_never_served(const Error& cause) {
  return cause.kind == ErrorKind::kNotFound || cause.kind == ErrorKind::kCorrupt;
}

Error of_vm(const Vm& vm, const Error& cause) {
  return with_context(fmt::format("VM {}", vm.directory.name()), cause);
}

}  // namespace

bool serves_still(InheritedState& state) {
  if (state.worker <= 0) return false;
  if (::waitpid(state.worker, nullptr, WNOHANG) == 0) return true;
  state.worker = -1;
  return false;
}

Status try_services(const InheritedState& state, Snapshots& snapshots) {
  for (const std::unique_ptr<Vm>& vm : state.vms) {
    std::vector<std::string> notes;
    const auto service = snapshots.find(vm->state.record(), notes);
    // A pin goes with its VM.
    if (!service && !os::has_ended(vm->pidfd.get())) {
      return std::unexpected(of_vm(*vm, service.error()));
    }
  }
  return {};
}

void Predecessor::begin(InheritedState& state) {
  is_there_ = true;
  if (serves_still(state)) {
    // Without a descriptor for it its end is seen when something else happens.
    if (auto pidfd = os::open_process(state.worker)) worker_pidfd_ = std::move(*pidfd);
    worker_ = std::exchange(state.worker, -1);
  }
  control_ = std::move(state.worker_control);
  deadline_ = Clock::now() + kLongestWithoutOpening;
  opening_ = std::make_shared<std::vector<Opening>>();
  for (auto& vm : std::exchange(state.vms, {})) {
    const std::uint64_t id = std::exchange(vm->id, 0);
    opening_->push_back({std::move(vm), id, std::nullopt});
  }
  for (std::size_t i = 0; i < opening_->size(); ++i) {
    const std::weak_ptr<std::vector<Opening>> wanted = opening_;
    openings_.open(snapshots_.request_for((*opening_)[i].vm->state.record()),
                   [this, wanted, i](Result<Service> service) {
                     const auto vms = wanted.lock();
                     if (!vms) return;
                     (*vms)[i].service = std::move(service);
                     deadline_ = Clock::now() + kLongestWithoutOpening;
                   });
  }
}

std::vector<const Vm*> Predecessor::vms() const {
  std::vector<const Vm*> vms;
  if (!opening_) return vms;
  vms.reserve(opening_->size());
  for (const Opening& one : *opening_) {
    if (one.vm) vms.push_back(one.vm.get());
  }
  return vms;
}

void Predecessor::handle_message() {
  const auto received = os::receive_message(control_.get(), kMaxControlBytes);
  // The end of the process is seen by its pidfd.
  if (!received || received->bytes.empty()) return control_.reset();
  const auto message = decode_control(received->bytes);
  if (message && message->kind == MessageKind::kEnded) end_vm(*message);
}

void Predecessor::end_vm(const ControlMessage& message) {
  if (!opening_ || message.id == 0) return;
  const auto found = std::find_if(opening_->begin(), opening_->end(), [&](const Opening& one) {
    return one.vm && one.id == message.id;
  });
  if (found == opening_->end()) return;
  ended_({message.id, message.state, message.text}, *found->vm);
  found->vm.reset();
}

/// What the serving process has said so far. What it says later, its successor finds by itself.
void Predecessor::handle_last_messages() {
  pollfd more{control_.get(), POLLIN, 0};
  while (control_.valid() && ::poll(&more, 1, 0) > 0) handle_message();
}

int Predecessor::due_ms() const {
  if (!is_there_) return -1;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0)) + 1;
}

bool Predecessor::serves() {
  if (worker_ <= 0) return false;
  // A process that a tracer holds at its exit cannot be reaped, and does not serve.
  const bool has_ended = worker_pidfd_.valid() && os::has_ended(worker_pidfd_.get());
  if (::waitpid(worker_, nullptr, WNOHANG) == 0 && !has_ended) return true;
  worker_ = -1;
  worker_pidfd_.reset();
  return false;
}

bool Predecessor::is_opening() const {
  return std::any_of(opening_->begin(), opening_->end(),
                     [](const Opening& one) { return one.vm && !one.service; });
}

/// Why the VMs cannot be served from here, while the serving process can serve them.
std::optional<Error> Predecessor::why_not() const {
  for (const Opening& one : *opening_) {
    const bool has_failed = one.vm && one.service && !*one.service;
    if (has_failed && !os::has_ended(one.vm->pidfd.get())) {
      return of_vm(*one.vm, one.service->error());
    }
  }
  return std::nullopt;
}

std::optional<Result<Predecessor::Outcome>> Predecessor::take_outcome() {
  if (!is_there_) return std::nullopt;
  if (serves()) {
    if (auto cause = why_not()) return std::unexpected(std::move(*cause));
    if (is_opening() && Clock::now() < deadline_) return std::nullopt;
    if (is_opening()) {
      return fail(ErrorKind::kBusy,
                  "the snapshots of VMs could not be opened: none in {} s; see what their storage "
                  "waits for",
                  kLongestWithoutOpening.count());
    }
    // One that could not be waited for cannot be replaced.
    if (!worker_pidfd_.valid()) end_serving_process();
  }
  handle_last_messages();
  return release_vms();
}

Predecessor::Outcome Predecessor::release_vms() {
  Outcome outcome;
  // What there is no memory for fails before a VM has moved.
  outcome.vms.reserve(opening_->size());
  outcome.unopened.reserve(opening_->size());
  for (Opening& one : *opening_) {
    if (!one.vm) continue;
    if (one.service && (*one.service || is_never_served(one.service->error()))) {
      outcome.vms.push_back({std::move(one.vm), std::move(*one.service)});
    } else {
      outcome.unopened.push_back(std::move(one.vm));
    }
  }
  outcome.worker = worker_;
  outcome.worker_pidfd = std::move(worker_pidfd_);
  outcome.worker_control = std::move(control_);
  forget();
  return outcome;
}

void Predecessor::end_serving_process() {
  if (worker_ <= 0) return;
  ::kill(worker_, SIGKILL);
  if (worker_pidfd_.valid()) {
    static_cast<void>(os::wait_for_end(worker_pidfd_.get(), kLongestEnd));
    ::waitpid(worker_, nullptr, WNOHANG);
  } else {
    const Clock::time_point until = Clock::now() + kLongestEnd;
    constexpr int kPauseMs = 10;
    while (::waitpid(worker_, nullptr, WNOHANG) == 0 && Clock::now() < until) {
      ::poll(nullptr, 0, kPauseMs);
    }
  }
  worker_ = -1;
  worker_pidfd_.reset();
}

void Predecessor::pass_on_stop() const {
  // It is blocked there until that process takes this one's place.
  if (worker_ > 0) ::kill(worker_, SIGTERM);
}

void Predecessor::forget() {
  is_there_ = false;
  worker_ = -1;
  worker_pidfd_.reset();
  control_.reset();
  opening_.reset();
}

}  // namespace lamina::server
