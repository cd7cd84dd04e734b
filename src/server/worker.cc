#include "server/worker.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <map>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "os/poll.h"
#include "os/process.h"
#include "os/unix_socket.h"
#include "server/control_message.h"
#include "server/openings.h"
#include "server/wait_time.h"

namespace lamina::server {
namespace {

/// The supervisor has just opened the same, so all of it is in memory. What takes longer is left to
/// a successor, which is forked from the supervisor and has it open.
constexpr std::chrono::seconds kLongestOpening{10};

class Worker {
 public:
  Worker(Snapshots& snapshots, int control, int supervisor, Log log)
      : snapshots_(snapshots),
        control_(control),
        supervisor_(supervisor),
        log_(std::move(log)),
        openings_(snapshots, [](const std::string&) {}) {}  // the supervisor notes the same

  /// An exception ends it: another serving process, forked from the supervisor, goes on.
  Result<WorkerEnd> run(Vms& vms, std::size_t threads) {
    return contain("serving process", [&] { return serve_all(vms, threads); });
  }

 private:
  Result<WorkerEnd> serve_all(Vms& vms, std::size_t threads) {
    LAMINA_RETURN_IF_ERROR(openings_.start());
    LAMINA_ASSIGN_OR_RETURN(served_, ServedVms::start(vms, threads, log_));
    tell(message_of(MessageKind::kServes));
    while (true) {
      // The end of a successor counts only when there is no supervisor that would fork another one.
      const bool is_orphan = supervisor_ < 0;
      std::array<pollfd, 5> waiting = {
          pollfd{control_, POLLIN, 0}, pollfd{served_->fd(), POLLIN, 0},
          pollfd{supervisor_, POLLIN, 0}, pollfd{openings_.fd(), POLLIN, 0},
          pollfd{is_orphan ? successor_.get() : -1, 0, 0}};
      const int wait_ms = sooner(served_->save_due_recordings(), openings_.expire());
      // If it fails, the serving threads go on; a successor would fare no better.
      static_cast<void>(os::wait_for_events(waiting, wait_ms));
      if (waiting[1].revents != 0) {
        served_->handle_ended([this](const Ended& ended, const Vm&) { tell_ended(ended); });
      }
      if (waiting[3].revents != 0) openings_.handle();
      if (waiting[0].revents != 0 && !handle_message()) control_ = -1;
      if (waiting[2].revents != 0) {
        // What it said before it died counts: its end is closed, so this does not wait.
        while (control_ >= 0 && handle_message()) {
        }
        control_ = -1;
        supervisor_ = -1;
        if (!successor_.valid()) return end();
      }
      if (waiting[4].revents != 0) return end();
    }
  }

  WorkerEnd end() {
    WorkerEnd end{detaching_, {}};
    for (auto& [id, vm] : opening_) end.unopened.push_back(std::move(vm));
    opening_.clear();
    return end;
  }

  /// False when the supervisor has closed its end.
  bool handle_message() {
    auto received = os::receive_message(control_, kMaxControlBytes);
    if (!received || received->bytes.empty()) return false;
    const auto message = decode_control(received->bytes);
    if (!message) return true;
    if (message->kind == MessageKind::kDetach) {
      detaching_ = true;
      served_->detach_all();
      return true;
    }
    if (message->kind == MessageKind::kLog) {
      if (received->fds.size() == 1) take_log(received->fds.front().get());
      return true;
    }
    if (message->kind == MessageKind::kReplaced) {
      if (received->fds.size() == 1) successor_ = std::move(received->fds.front());
      return true;
    }
    auto vm = make_vm(*message, received->fds);
    if (!vm) {
      // For want of descriptors or memory here. Its successor is forked with what the VM needs.
      tell_cannot_open(message->id, vm.error());
      return true;
    }
    const Status begun = contain("serve a VM", [&]() -> Status {
      open(std::move(*vm));
      return {};
    });
    if (!begun) end_vm(message->id, begun.error());
    return true;
  }

  /// What there is no memory for, or goes wrong otherwise, ends this VM: the supervisor kills it.
  void end_vm(std::uint64_t id, const Error& cause) {
    opening_.erase(id);
    tell_ended({id, pager::SessionState::kKilled, one_line(cause)});
  }

  void open(std::unique_ptr<Vm> vm) {
    const std::uint64_t id = vm->id;
    SnapshotRequest request = snapshots_.request_for(vm->state.record());
    opening_[id] = std::move(vm);
    openings_.open(
        std::move(request),
        [this, id](Result<Service> service) {
          const Status served =
              contain("serve a VM", [&] { return serve(id, std::move(service)); });
          if (!served) end_vm(id, served.error());
        },
        kLongestOpening);
  }

  Status serve(std::uint64_t id, Result<Service> service) {
    const auto found = opening_.find(id);
    if (found == opening_.end()) return {};
    Vm& vm = *found->second;
    if (service) {
      vm.service = std::move(*service);
      std::unique_ptr<Vm> opened = std::move(found->second);
      opening_.erase(found);
      LAMINA_RETURN_IF_ERROR(served_->add(opened));
      if (detaching_) served_->detach_all();
      return {};
    }
    // A pin goes with its VM.
    if (!os::may_signal(vm.pidfd.get())) {
      opening_.erase(found);
      tell_ended({id, pager::SessionState::kEnded, {}});
      return {};
    }
    tell_cannot_open(id, service.error());
    return {};
  }

  void tell_cannot_open(std::uint64_t id, const Error& cause) const {
    ControlMessage message;
    message.kind = MessageKind::kCannotOpen;
    message.id = id;
    message.text = one_line(cause);
    tell(message);
  }

  static Result<std::unique_ptr<Vm>> make_vm(const ControlMessage& message,
                                             std::vector<os::Fd>& fds) {
    constexpr std::size_t kFds = 3;
    const bool is_connected = fds.size() == kFds + 1;
    if (message.kind != MessageKind::kServe || (fds.size() != kFds && !is_connected)) {
      return fail(ErrorKind::kFailed, "a control message with {} descriptors", fds.size());
    }
    LAMINA_ASSIGN_OR_RETURN(
        std::unique_ptr<Vm> vm,
        attach_vm(message.text, VmDirectory(message.text, std::move(fds[2])), std::move(fds[0]),
                  std::move(fds[1]), is_connected ? std::move(fds[3]) : os::Fd()));
    vm->id = message.id;
    return vm;
  }

  /// The supervisor's log is another file now, and so is that of this process.
  static void take_log(int fd) {
    for (const int own : {STDOUT_FILENO, STDERR_FILENO}) {
      struct stat before{};
      struct stat errors{};
      if (::fstat(own, &before) != 0 || ::fstat(STDERR_FILENO, &errors) != 0) continue;
      if (before.st_dev == errors.st_dev && before.st_ino == errors.st_ino) ::dup2(fd, own);
    }
  }

  void tell_ended(const Ended& ended) const {
    ControlMessage message;
    message.kind = MessageKind::kEnded;
    message.id = ended.id;
    message.state = ended.state;
    message.text = ended.failure;
    tell(message);
  }

  void tell(const ControlMessage& message) const {
    // When the supervisor is gone, the next one sees for itself.
    static_cast<void>(os::send_message(control_, encode_control(message), {}, os::WhenFull::kWait));
  }

  Snapshots& snapshots_;
  int control_;
  int supervisor_;
  Log log_;
  bool detaching_ = false;
  os::Fd successor_;  ///< hangs up when the process that is to succeed this one has ended
  Openings openings_;
  std::map<std::uint64_t, std::unique_ptr<Vm>> opening_;  ///< on record, not served yet
  std::unique_ptr<ServedVms> served_;
};

}  // namespace

Result<WorkerEnd> run_worker(Snapshots& snapshots, Vms& vms, int control, int supervisor,
                             std::size_t threads, Log log) {
  return Worker(snapshots, control, supervisor, std::move(log)).run(vms, threads);
}

}  // namespace lamina::server
