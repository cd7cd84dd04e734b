#include "server/served_vms.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "os/clock.h"
#include "os/process.h"

namespace lamina::server {
std::size_t default_threads(std::uint32_t wanted) {
  constexpr std::size_t kMost = 4;
  if (wanted > 0) return wanted;
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, kMost);
}

void count_ended(const Ended& ended, const Vm& vm, Totals& totals, const Log& log) {
  add_counters(totals.counters, vm.state.counters());
  // Of a VM that has ended, nothing waits.
  pager::NetworkWaits waits = vm.state.network_waits();
  waits.waiting.set(0);
  add_waits(totals.network_waits, waits);
  if (ended.state != pager::SessionState::kKilled) return;
  ++totals.vms_killed;
  static_cast<void>(os::kill_process(vm.pidfd.get()));
  if (log) {
    log(fmt::format("process {} was killed, its memory could not be served from '{}': {}",
                    vm.state.record().pid, vm.state.record().snapshot, ended.failure));
  }
}

Totals sum_of(const Totals& totals, const Vms& vms) {
  Totals sum = totals;
  sum.sessions_running = vms.size();
  for (const auto& [id, vm] : vms) {
    add_counters(sum.counters, vm->state.counters());
    add_waits(sum.network_waits, vm->state.network_waits());
  }
  return sum;
}

std::vector<VmFigures> figures_of(const Vms& vms) {
  std::vector<VmFigures> figures;
  figures.reserve(vms.size());
  for (const auto& [id, vm] : vms) {
    figures.push_back({vm->directory.name(), vm->state.record().memory_bytes, &vm->state.counters(),
                       &vm->state.network_waits()});
  }
  return figures;
}

Result<std::unique_ptr<ServedVms>> ServedVms::start(Vms& vms, std::size_t threads, Log log) {
  std::unique_ptr<ServedVms> served(new ServedVms(vms, std::move(log)));
  served->epoll_ = os::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!served->epoll_.valid()) return system_failure("epoll_create", "served VMs", errno);
  LAMINA_ASSIGN_OR_RETURN(served->storer_, WorkingSetStorer::create());
  LAMINA_ASSIGN_OR_RETURN(served->threads_, ServingThreads::start(threads));
  // Last: where few threads can be started, VMs are served without it.
  if (auto prefetcher = Prefetcher::start()) served->prefetcher_ = std::move(*prefetcher);
  for (const int fd : {served->storer_->fd(), served->threads_->fd()}) {
    LAMINA_RETURN_IF_ERROR(served->watch(fd));
  }
  served->threads_->reserve(vms.size());
  for (const auto& [id, vm] : vms) {
    vm->state.counters().resumptions.add(1);
    served->begin(*vm);
  }
  return served;
}

Status ServedVms::watch(int fd) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return system_failure("epoll_ctl", "served VMs", errno);
}

Status ServedVms::add(std::unique_ptr<Vm>& vm) {
  return contain("serve a VM", [&]() -> Status {
    threads_->reserve(vms_.size() + 1);
    Vm& added = *vm;
    std::unique_ptr<Vm>& place = vms_[added.id];
    place = std::move(vm);
    begin(added);
    return {};
  });
}

void ServedVms::begin(Vm& vm) noexcept {
  VmToServe serve;
  serve.id = vm.id;
  serve.chain = &vm.service.snapshot->opened.chain;
  serve.state = &vm.state;
  serve.descriptors = vm.descriptors();
  serve.options.record_until_ns = vm.state.record().record_until_ns;
  serve.options.plan = vm.service.plan.get();
  serve.arrival = vm.service.snapshot->arrival;
  if (serve.options.record_until_ns != 0 && vm.state.recording_stored().get() == 0) {
    // A recording is a hint: without memory for it there is none.
    static_cast<void>(contain("recording", [&]() -> Status {
      recording_[vm.id] = serve.options.record_until_ns;
      return {};
    }));
  }
  if (prefetcher_) prefetcher_->add(vm.service);
  threads_->add(std::move(serve));
}

void ServedVms::handle_ended(const Ending& ended) {
  ended_.reserve(vms_.size());
  handle_stored();
  for (const std::string& note : threads_->take_notes()) say(note);
  for (Ended& one : threads_->take_ended()) ended_.push_back(std::move(one));
  while (!ended_.empty()) {
    const Ended& one = ended_.back();
    const auto found = vms_.find(one.id);
    if (found != vms_.end()) {
      if (recording_.contains(one.id)) save_recording(*found->second);
      if (storing_.contains(one.id)) {
        waiting_[one.id] = one;
      } else {
        end(one, ended);
      }
    }
    ended_.pop_back();
  }
}

void ServedVms::say(const std::string& line) const noexcept {
  // A line that there is no memory for is lost.
  static_cast<void>(contain("log", [&]() -> Status {
    if (log_) log_(line);
    return {};
  }));
}

void ServedVms::handle_stored() {
  for (const WorkingSetStorer::Stored& stored : storer_->take_stored()) {
    storing_.erase(stored.vm);
    vms_.at(stored.vm)->state.recording_stored().set(1);
    auto waits = waiting_.extract(stored.vm);
    if (!waits.empty()) ended_.push_back(std::move(waits.mapped()));
    if (stored.status) continue;
    static_cast<void>(contain("log", [&]() -> Status {
      say(fmt::format("the working set of '{}' was not stored: {}", stored.snapshot,
                      one_line(stored.status.error())));
      return {};
    }));
  }
}

void ServedVms::end(const Ended& one, const Ending& ended) {
  const auto found = vms_.find(one.id);
  ended(one, *found->second);
  vms_.erase(found);
}

void ServedVms::save_recording(const Vm& vm) noexcept {
  recording_.erase(vm.id);
  const std::uint64_t count =
      std::min<std::uint64_t>(vm.state.recorded_count().get(), pager::kMaxRecordedBlocks);
  // No fault after a working set was filled in: the set had everything, and that is on record too.
  const bool had_everything = vm.state.record().record_faults_only && vm.service.plan != nullptr;
  if (count == 0 && !had_everything) return vm.state.recording_stored().set(1);
  const Status saved = contain("recording", [&]() -> Status {
    const auto blocks = vm.state.recorded_blocks().first(count);
    storing_.insert(vm.id);
    return storer_->add({vm.id,
                         vm.service.recorded_to,
                         vm.service.path == vm.service.recorded_to ? "" : vm.service.path,
                         vm.state.record().record_faults_only,
                         vm.state.record().pause_id,
                         vm.state.record().memory_bytes,
                         vm.service.plan,
                         {blocks.begin(), blocks.end()}});
  });
  if (saved) return;
  static_cast<void>(contain("log", [&]() -> Status {
    say(fmt::format("the working set of '{}' was not stored: {}", vm.service.recorded_to,
                    one_line(saved.error())));
    return {};
  }));
  storing_.erase(vm.id);
  vm.state.recording_stored().set(1);
}

int ServedVms::save_due_recordings() {
  constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
  const std::uint64_t now_ns = os::monotonic_ns();
  std::vector<const Vm*> due;
  int next_ms = -1;
  for (const auto& [id, until_ns] : recording_) {
    if (until_ns <= now_ns) {
      due.push_back(vms_.at(id).get());
      continue;
    }
    const auto left_ms = static_cast<int>((until_ns - now_ns) / kNanosecondsPerMillisecond) + 1;
    next_ms = next_ms < 0 ? left_ms : std::min(next_ms, left_ms);
  }
  for (const Vm* vm : due) save_recording(*vm);
  return next_ms;
}

}  // namespace lamina::server
