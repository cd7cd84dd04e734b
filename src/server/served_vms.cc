#include "server/served_vms.h"

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "sys/clock.h"
#include "sys/process.h"

namespace lamina::server {
std::size_t default_threads(std::uint32_t wanted) {
  constexpr std::size_t kMost = 4;
  if (wanted > 0) return wanted;
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, kMost);
}

void count_ended(const Ended& ended, const Vm& vm, Totals& totals, const Log& log) {
  add_counters(totals.counters, vm.state.counters());
  if (ended.state != pager::SessionState::kKilled) return;
  ++totals.vms_killed;
  static_cast<void>(sys::kill_process(vm.pidfd.get()));
  if (log) {
    log(fmt::format("process {} was killed, its memory could not be served from '{}': {}",
                    vm.state.record().pid, vm.state.record().snapshot, ended.failure));
  }
}

Totals sum_of(const Totals& totals, const Vms& vms) {
  Totals sum = totals;
  sum.sessions_running = vms.size();
  for (const auto& [id, vm] : vms) add_counters(sum.counters, vm->state.counters());
  return sum;
}

Result<std::unique_ptr<ServedVms>> ServedVms::start(const Snapshots& snapshots, Vms& vms,
                                                    std::size_t threads, Log log) {
  std::unique_ptr<ServedVms> served(new ServedVms(snapshots, vms, std::move(log)));
  LAMINA_ASSIGN_OR_RETURN(served->threads_, ServingThreads::start(threads));
  for (const auto& [id, vm] : vms) {
    vm->state.counters().resumptions.add(1);
    served->begin(*vm);
  }
  return served;
}

void ServedVms::add(std::unique_ptr<Vm> vm) {
  Vm& added = *vm;
  vms_[added.id] = std::move(vm);
  begin(added);
}

void ServedVms::begin(Vm& vm) {
  const Snapshot& snapshot = snapshots_.at(vm.snapshot);
  VmToServe serve;
  serve.id = vm.id;
  serve.chain = &snapshot.opened.chain;
  serve.state = &vm.state;
  serve.descriptors = vm.descriptors();
  serve.options.record_until_ns = vm.state.record().record_until_ns;
  serve.options.plan = snapshot.populates ? &snapshot.plan : nullptr;
  if (serve.options.record_until_ns != 0 && vm.state.recording_stored().get() == 0) {
    recording_[vm.id] = serve.options.record_until_ns;
  }
  prefetcher_.add(snapshot);
  threads_->add(std::move(serve));
}

void ServedVms::handle_ended(const std::function<void(const Ended&, const Vm&)>& ended) {
  for (const Ended& one : threads_->take_ended()) {
    const auto found = vms_.find(one.id);
    if (found == vms_.end()) continue;
    if (recording_.contains(one.id)) save_recording(*found->second);
    ended(one, *found->second);
    vms_.erase(found);
  }
}

void ServedVms::save_recording(const Vm& vm) {
  recording_.erase(vm.id);
  vm.state.recording_stored().set(1);
  if (vm.state.recorded_count().get() == 0) return;
  const Snapshot& snapshot = snapshots_.at(vm.snapshot);
  const Status saved = save_working_set(snapshot, vm.state);
  if (!saved && log_) {
    log_(fmt::format("the working set of '{}' was not stored: {}", snapshot.facts.path,
                     saved.error().message));
  }
}

int ServedVms::save_due_recordings() {
  constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
  const std::uint64_t now_ns = sys::monotonic_ns();
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
