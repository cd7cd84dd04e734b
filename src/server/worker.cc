#include "server/worker.h"

#include <fcntl.h>
#include <poll.h>

#include <array>
#include <chrono>
#include <set>

#include "base/error.h"
#include "server/control_message.h"
#include "server/serving_threads.h"
#include "sys/file.h"
#include "sys/unix_socket.h"

namespace lamina::server {
namespace {

using Clock = std::chrono::steady_clock;

/// A recording ends so long after its VM was resumed.
constexpr std::chrono::seconds kRecordingTime{10};

class Worker {
 public:
  Worker(const Snapshots& snapshots, Vms& vms, int control, const WorkerOptions& options)
      : snapshots_(snapshots), vms_(vms), control_(control), options_(options) {}

  Status run() {
    LAMINA_ASSIGN_OR_RETURN(threads_, ServingThreads::start(options_.threads));
    for (const auto& [id, vm] : vms_) {
      vm->state.counters().resumptions.add(1);
      begin(*vm);
    }
    while (true) {
      std::array<pollfd, 3> waiting = {pollfd{control_, POLLIN, 0},
                                       pollfd{threads_->fd(), POLLIN, 0},
                                       pollfd{options_.supervisor, POLLIN, 0}};
      static_cast<void>(::poll(waiting.data(), waiting.size(), save_due_recordings()));
      if (waiting[1].revents != 0) handle_ended();
      // A new program in the supervisor's place ends this process when it is ready to succeed it.
      if (waiting[0].revents != 0 && !handle_message()) control_ = -1;
      if (waiting[2].revents != 0) return {};
    }
  }

 private:
  void begin(Vm& vm) {
    const Snapshot& snapshot = snapshots_.at(vm.snapshot);
    VmToServe serve;
    serve.id = vm.id;
    serve.chain = &snapshot.opened.chain;
    serve.state = &vm.state;
    serve.descriptors = vm.descriptors();
    serve.options.record = vm.state.record().record;
    serve.options.plan = snapshot.populates ? &snapshot.plan : nullptr;
    if (vm.state.record().record) recording_[vm.id] = Clock::now() + kRecordingTime;
    threads_->add(std::move(serve));
  }

  /// False when the supervisor has closed its end.
  bool handle_message() {
    auto received = sys::receive_message(control_, kMaxControlBytes);
    if (!received || received->bytes.empty()) return false;
    const auto message = decode_control(received->bytes);
    if (!message) return true;
    if (message->kind == MessageKind::kDetach) {
      threads_->detach_all();
      return true;
    }
    auto vm = make_vm(*message, received->fds);
    if (vm) {
      Vm& added = **vm;
      vms_[added.id] = std::move(*vm);
      begin(added);
    } else {
      options_.log(vm.error().message);
      tell_ended({message->id, pager::SessionState::kKilled, vm.error().message});
    }
    return true;
  }

  static Result<std::unique_ptr<Vm>> make_vm(const ControlMessage& message,
                                             std::vector<sys::Fd>& fds) {
    constexpr std::size_t kFds = 4;
    if (message.kind != MessageKind::kServe || fds.size() != kFds) {
      return fail(ErrorKind::kFailed, "a control message with {} descriptors", fds.size());
    }
    VmDirectory directory(message.text, std::move(fds[2]));
    LAMINA_ASSIGN_OR_RETURN(const sys::Fd file,
                            sys::open_at(directory.fd(), kStateName, O_RDWR, message.text));
    LAMINA_ASSIGN_OR_RETURN(pager::VmState state, pager::VmState::attach(file.get(), message.text));
    return std::make_unique<Vm>(Vm{message.id, message.snapshot, std::move(directory),
                                   std::move(fds[0]), std::move(fds[1]), std::move(fds[3]),
                                   std::move(state)});
  }

  void handle_ended() {
    for (const Ended& ended : threads_->take_ended()) {
      const auto found = vms_.find(ended.id);
      if (found == vms_.end()) continue;
      if (recording_.contains(ended.id)) save_recording(*found->second);
      tell_ended(ended);
      vms_.erase(found);
    }
  }

  void tell_ended(const Ended& ended) const {
    ControlMessage message;
    message.kind = MessageKind::kEnded;
    message.id = ended.id;
    message.state = ended.state;
    message.text = ended.failure;
    // When the supervisor is gone, the next one sees for itself.
    static_cast<void>(sys::send_message(control_, encode_control(message), {}));
  }

  void save_recording(const Vm& vm) {
    recording_.erase(vm.id);
    if (vm.state.recorded_count().get() == 0) return;
    const Snapshot& snapshot = snapshots_.at(vm.snapshot);
    const Status saved = save_working_set(snapshot, vm.state);
    if (!saved) {
      options_.log(fmt::format("the working set of '{}' was not stored: {}", snapshot.facts.path,
                               saved.error().message));
    }
  }

  /// Stores the recordings whose time is over or that are full; returns the milliseconds until the
  /// next, -1 when there is none.
  int save_due_recordings() {
    const Clock::time_point now = Clock::now();
    std::vector<const Vm*> due;
    int next_ms = -1;
    for (const auto& [id, deadline] : recording_) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now).count();
      if (left <= 0) {
        due.push_back(vms_.at(id).get());
      } else if (next_ms < 0 || left < next_ms) {
        next_ms = static_cast<int>(left) + 1;
      }
    }
    for (const Vm* vm : due) save_recording(*vm);
    return next_ms;
  }

  const Snapshots& snapshots_;
  Vms& vms_;
  int control_;
  const WorkerOptions& options_;
  std::map<std::uint64_t, Clock::time_point> recording_;
  std::unique_ptr<ServingThreads> threads_;  ///< last: its threads use the VMs
};

}  // namespace

Status run_worker(const Snapshots& snapshots, Vms& vms, int control, const WorkerOptions& options) {
  return Worker(snapshots, vms, control, options).run();
}

}  // namespace lamina::server
