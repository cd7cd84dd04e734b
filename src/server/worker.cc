#include "server/worker.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "os/process.h"
#include "os/unix_socket.h"
#include "server/control_message.h"

namespace lamina::server {
namespace {

class Worker {
 public:
  Worker(Snapshots& snapshots, int control, int supervisor, Log log)
      : snapshots_(snapshots), control_(control), supervisor_(supervisor), log_(std::move(log)) {}

  /// An exception ends it: another serving process, forked from the supervisor, goes on.
  Result<WorkerEnd> run(Vms& vms, std::size_t threads) {
    return contain("serving process", [&] { return serve_all(vms, threads); });
  }

 private:
  Result<WorkerEnd> serve_all(Vms& vms, std::size_t threads) {
    LAMINA_ASSIGN_OR_RETURN(served_, ServedVms::start(vms, threads, log_));
    while (true) {
      std::array<pollfd, 3> waiting = {pollfd{control_, POLLIN, 0},
                                       pollfd{served_->fd(), POLLIN, 0},
                                       pollfd{supervisor_, POLLIN, 0}};
      static_cast<void>(::poll(waiting.data(), waiting.size(), served_->save_due_recordings()));
      if (waiting[1].revents != 0) {
        served_->handle_ended([this](const Ended& ended, const Vm&) { tell_ended(ended); });
      }
      if (waiting[0].revents != 0 && !handle_message()) control_ = -1;
      if (waiting[2].revents != 0) {
        // What it said before it died counts: its end is closed, so this does not wait.
        while (control_ >= 0 && handle_message()) {
        }
        return WorkerEnd{detaching_};
      }
    }
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
    auto vm = make_vm(*message, received->fds);
    if (!vm) {
      // For want of descriptors or memory here. Its successor is forked with what the VM needs.
      give_way(message->id, vm.error());
      return true;
    }
    // What there is no memory for, or goes wrong otherwise, ends this VM: the supervisor kills it.
    const Status served = contain("serve a VM", [&] { return serve(std::move(*vm)); });
    if (!served) {
      tell_ended({message->id, pager::SessionState::kKilled, served.error().message});
    }
    return true;
  }

  Status serve(std::unique_ptr<Vm> vm) {
    std::vector<std::string> notes;  // the supervisor has had the same
    auto service = snapshots_.find(vm->state.record(), notes);
    if (service) {
      vm->service = std::move(*service);
      return served_->add(vm);
    }
    // A pin goes with its VM.
    if (!os::may_signal(vm->pidfd.get())) {
      tell_ended({vm->id, pager::SessionState::kEnded, {}});
      return {};
    }
    give_way(vm->id, service.error());
    return {};
  }

  void give_way(std::uint64_t id, const Error& cause) const {
    ControlMessage message;
    message.kind = MessageKind::kGiveWay;
    message.id = id;
    message.text = cause.message;
    tell(message);
  }

  static Result<std::unique_ptr<Vm>> make_vm(const ControlMessage& message,
                                             std::vector<os::Fd>& fds) {
    constexpr std::size_t kFds = 4;
    if (message.kind != MessageKind::kServe || fds.size() != kFds) {
      return fail(ErrorKind::kFailed, "a control message with {} descriptors", fds.size());
    }
    LAMINA_ASSIGN_OR_RETURN(std::unique_ptr<Vm> vm,
                            attach_vm(message.text, VmDirectory(message.text, std::move(fds[2])),
                                      std::move(fds[0]), std::move(fds[1]), std::move(fds[3])));
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
  std::unique_ptr<ServedVms> served_;
};

}  // namespace

Result<WorkerEnd> run_worker(Snapshots& snapshots, Vms& vms, int control, int supervisor,
                             std::size_t threads, Log log) {
  return Worker(snapshots, control, supervisor, std::move(log)).run(vms, threads);
}

}  // namespace lamina::server
