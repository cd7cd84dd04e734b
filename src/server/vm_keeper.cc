#include "server/vm_keeper.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/process.h"
#include "server/control_message.h"
#include "server/wait_time.h"

namespace lamina::server {
void VmKeeper::add(std::unique_ptr<Vm> vm) {
  if (vm->id == 0) vm->id = totals_.sessions_started + 1;
  note_id(vm->id);
  const std::uint64_t id = vm->id;
  const Vm& added = *(vms_[id] = std::move(vm));
  // While one VM is looked for that crashes serving processes, others wait for the next.
  if (elimination_.served()) return;
  const Status told = contain("serve a VM", [&]() -> Status {
    worker_.tell_vm(added);
    if (detaches_) detach();
    return {};
  });
  // From here on it is on record: a successor serves it.
  if (!told) worker_.replace();
}

void VmKeeper::note_id(std::uint64_t id) {
  totals_.sessions_started = std::max(totals_.sessions_started, id);
  had_vms_ = true;
}

void VmKeeper::detach() {
  detaches_ = true;
  worker_.tell(message_of(MessageKind::kDetach), {});
}

void VmKeeper::tell_log() {
  const std::array<int, 1> fds = {STDERR_FILENO};
  worker_.tell(message_of(MessageKind::kLog), fds);
}

void VmKeeper::kill_vm(const Vm& vm, const std::string& cause) {
  static_cast<void>(os::kill_process(vm.pidfd.get()));
  ++totals_.vms_killed;
  log_(fmt::format("VM {} was killed, it cannot be served any more: {}", vm.directory.name(),
                   cause));
  states_->remove(vm.directory);
}

void VmKeeper::count_unserved(const Ended& ended, const Vm& vm) {
  ++totals_.sessions_started;
  had_vms_ = true;
  count_ended(ended, vm, totals_, log_);
  states_->remove(vm.directory);
}

WorkerProcess::Start VmKeeper::start_if_due() {
  const WorkerProcess::Start start = worker_.start_if_due();
  if (start == WorkerProcess::Start::kBegun && detaches_) detach();
  return start;
}

int VmKeeper::due_ms() const {
  return sooner(worker_.next_start_ms(), elimination_.served() ? worker_.lives_in_ms() : -1);
}

void VmKeeper::handle_message() {
  const Status handled = contain("control message", [&]() -> Status {
    receive();
    return {};
  });
  // A successor says again what is lost.
  if (!handled) worker_.replace();
}

void VmKeeper::receive() {
  const auto message = worker_.receive();
  if (!message) return;
  if (message->kind == MessageKind::kEnded) return end_vm(*message);
  if (message->kind != MessageKind::kCannotOpen) return;
  log_(
      fmt::format("the serving process is replaced by one that has open what it could not open: {}",
                  message->text));
  worker_.replace();
}

void VmKeeper::end_vm(const ControlMessage& message) {
  const auto found = vms_.find(message.id);
  if (found == vms_.end()) return;
  const Vm& vm = *found->second;
  count_ended({message.id, message.state, message.text}, vm, totals_, log_);
  states_->remove(vm.directory);
  vms_.erase(found);
}

void VmKeeper::handle_end() {
  if (worker_.reap() == WorkerProcess::Death::kCrashAtOnce) elimination_.crashed(ids());
}

void VmKeeper::judge() {
  if (worker_.has_lived() && judged_ != worker_.pid()) {
    judged_ = worker_.pid();
    const bool was_some = elimination_.served().has_value();
    elimination_.lived(ids());
    if (was_some) worker_.replace();
  }
  const auto guilty = elimination_.take_guilty();
  const auto found = guilty ? vms_.find(*guilty) : vms_.end();
  if (found == vms_.end()) return;
  kill_vm(*found->second, "serving processes crash by it, each one at once");
  vms_.erase(found);
}

Totals VmKeeper::totals_now() const {
  Totals totals = sum_of(totals_, vms_);
  totals.worker_restarts = worker_.deaths();
  return totals;
}

Elimination::Ids VmKeeper::ids() const {
  Elimination::Ids ids;
  for (const auto& [id, vm] : vms_) ids.insert(id);
  return ids;
}

Vms VmKeeper::take_waiting() {
  Vms waiting;
  if (!elimination_.served()) return waiting;
  for (const std::uint64_t id : ids()) {
    if (!elimination_.served()->contains(id)) waiting.insert(vms_.extract(id));
  }
  return waiting;
}

}  // namespace lamina::server
