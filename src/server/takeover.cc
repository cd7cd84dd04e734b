#include "server/takeover.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/process.h"

namespace lamina::server {
namespace {

constexpr int kLookMs = 100;

/// Whether a failure is a short supply (of memory, descriptors, …) and not what was asked for.
bool is_shortage(const Error& error) {
  switch (error.error_number) {
    case EAGAIN:
    case EINTR:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return true;
    default:
      return false;
  }
}

/// Not to be served now, and perhaps later: an input or output error, a mode that was wrong for a
/// moment. What is not there, or is not what it was, stays so.
bool may_open_later(const Error& cause) {
  return cause.error_number != 0 && cause.kind != ErrorKind::kNotFound &&
         cause.kind != ErrorKind::kCorrupt;
}

}  // namespace

void Takeover::begin() {
  look_again();
  const auto some_wait = take_abandoned();
  if (!some_wait) callbacks_.log(one_line(some_wait.error()));
}

void Takeover::look_if_due() {
  if (due_ms() < 0) return;
  retry();
  const auto some_wait = take_abandoned();
  if (!some_wait) callbacks_.log(one_line(some_wait.error()));
  if (!some_wait || *some_wait) look_again();
}

void Takeover::retry_if_due() {
  if (due_ms() >= 0) retry();
}

int Takeover::due_ms() const { return Clock::now() < look_until_ ? kLookMs : -1; }

/// True when some may be served another time: they are found again.
Result<bool> Takeover::take_abandoned() {
  LAMINA_ASSIGN_OR_RETURN(std::vector<VmDirectory> abandoned, states_.claim_abandoned());
  bool some_wait = false;
  for (VmDirectory& directory : abandoned) {
    try {
      some_wait |= !take_over(directory);
    } catch (const std::bad_alloc&) {
      some_wait = true;
    }
  }
  return some_wait;
}

/// False when it is to be tried again.
bool Takeover::take_over(VmDirectory& directory) {
  const std::string name = directory.name();
  auto vm = reacquire_vm(states_, directory);
  if (!vm && is_shortage(vm.error())) {
    say_waits(name, vm.error());
    return false;
  }
  if (!vm) {
    end_unserved(directory, vm.error());
    return true;
  }
  open(std::move(*vm), true);
  return true;
}

void Takeover::add(std::unique_ptr<Vm> vm) { open(std::move(vm), false); }

void Takeover::open(std::unique_ptr<Vm> vm, bool reacquired) {
  const std::uint64_t number = ++last_number_;
  opening_.emplace(number, Opening{std::move(vm), reacquired, false});
  request(number);
}

void Takeover::request(std::uint64_t number) {
  const pager::VmRecord& record = opening_.at(number).vm->state.record();
  openings_.open(snapshots_.request_for(record),
                 [this, number](Result<Service> service) { finish(number, std::move(service)); });
}

void Takeover::finish(std::uint64_t number, Result<Service> service) {
  const auto found = opening_.find(number);
  if (found == opening_.end()) return;
  const bool has_ended = os::has_ended(found->second.vm->pidfd.get());
  if (!service && may_open_later(service.error()) && !has_ended) {
    found->second.waits = true;
    look_again();
    return say_waits(found->second.vm->directory.name(), service.error());
  }
  Opening done = std::move(found->second);
  opening_.erase(found);
  if (!service && has_ended) return callbacks_.end(*done.vm);
  if (!service) return end_unserved(done.vm->directory, service.error());
  const pid_t pid = done.vm->state.record().pid;
  done.vm->service = std::move(*service);
  const Status served = contain("serve a VM", [&]() -> Status {
    callbacks_.serve(std::move(done.vm));
    return {};
  });
  // For want of memory. It is found again by its state.
  if (!served) look_again();
  if (!served || !done.reacquired) return;
  callbacks_.count_reacquired();
  callbacks_.log(fmt::format("process {} is served again", pid));
}

void Takeover::retry() {
  std::vector<std::uint64_t> waiting;
  for (auto& [number, one] : opening_) {
    if (one.waits) waiting.push_back(number);
  }
  for (const std::uint64_t number : waiting) {
    opening_.at(number).waits = false;
    request(number);
  }
}

void Takeover::end_unserved(const VmDirectory& directory, const Error& cause) {
  const auto killed = kill_if_waiting(directory.name());
  if (!killed) {
    // Its directory stays, so that the next start finds it.
    return callbacks_.log(fmt::format("VM {} can be neither served ({}) nor killed ({})",
                                      directory.name(), one_line(cause), one_line(killed.error())));
  }
  if (*killed) {
    callbacks_.count_killed();
    callbacks_.log(fmt::format("VM {} was killed, it cannot be served any more: {}",
                               directory.name(), one_line(cause)));
  }
  states_.remove(directory);
}

void Takeover::say_waits(const std::string& name, const Error& cause) {
  callbacks_.log(fmt::format("VM {} waits, and is tried again: {}", name, one_line(cause)));
}

bool Takeover::is_opening() const {
  return std::any_of(opening_.begin(), opening_.end(),
                     [](const auto& one) { return !one.second.waits; });
}

std::vector<const Vm*> Takeover::vms() const {
  std::vector<const Vm*> vms;
  vms.reserve(opening_.size());
  for (const auto& [number, one] : opening_) vms.push_back(one.vm.get());
  return vms;
}

}  // namespace lamina::server
