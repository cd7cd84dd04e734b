// The process that supervises: it accepts, keeps every descriptor, and starts a serving process
// whenever there is none. It does as little as possible, because nothing watches over it; should it
// be killed all the same, the serving process becomes one.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>

#include "base/error.h"
#include "lamina/serve.h"
#include "server/acceptor.h"
#include "server/control_message.h"
#include "server/metrics.h"
#include "server/metrics_socket.h"
#include "server/snapshots.h"
#include "server/succession.h"
#include "server/takeover.h"
#include "server/worker.h"
#include "sys/process.h"
#include "sys/unix_socket.h"

namespace lamina {
namespace {

using namespace server;  // NOLINT(google-build-using-namespace): this file is its entrance
using Clock = std::chrono::steady_clock;

/// A serving process that crashes (not: is killed) so often in a row, each time so soon, meets the
/// same fault again and again: its VMs are killed instead of left waiting.
constexpr int kMaxQuickCrashes = 20;
constexpr std::chrono::seconds kQuick{1};

ControlMessage detach_message() {
  ControlMessage message;
  message.kind = MessageKind::kDetach;
  return message;
}

class Supervisor {
 public:
  explicit Supervisor(const ServeOptions& options)
      : options_(options), snapshots_(options.populate) {}

  Status run() {
    LAMINA_RETURN_IF_ERROR(check_options());
    LAMINA_ASSIGN_OR_RETURN(StateDirectory states, StateDirectory::open(options_.state_directory));
    states_ = std::make_unique<StateDirectory>(std::move(states));
    LAMINA_ASSIGN_OR_RETURN(std::optional<Estate> estate, take_estate(*states_));
    LAMINA_RETURN_IF_ERROR(open_snapshots());
    LAMINA_RETURN_IF_ERROR(block_signals());
    if (estate) take_over(*estate);
    LAMINA_RETURN_IF_ERROR(listen(estate));
    LAMINA_RETURN_IF_ERROR(take_over_abandoned(*states_, snapshots_, vms_, totals_, options_.log));
    LAMINA_RETURN_IF_ERROR(start_worker());
    const Status served = loop();
    end_worker();
    acceptor_->close();
    if (metrics_) metrics_->remove();
    return served;
  }

 private:
  [[nodiscard]] Status check_options() const {
    if (options_.endpoints.empty()) return fail(ErrorKind::kUsage, "there is nothing to serve");
    for (std::size_t i = 0; i < options_.endpoints.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (options_.endpoints[i].socket == options_.endpoints[j].socket) {
          return fail(ErrorKind::kUsage, "'{}' is given for two snapshots",
                      options_.endpoints[i].socket);
        }
      }
    }
    return {};
  }

  void log(const std::string& line) const {
    if (options_.log) options_.log(line);
  }

  Status open_snapshots() {
    std::vector<std::string> notes;
    for (const ServeEndpoint& endpoint : options_.endpoints) {
      LAMINA_ASSIGN_OR_RETURN(const std::uint32_t index, snapshots_.open(endpoint.snapshot, notes));
      endpoints_.push_back({endpoint.socket, snapshots_.at(index).facts});
    }
    for (const std::string& note : notes) log(note);
    return {};
  }

  Status block_signals() {
    sigset_t signals{};
    sigemptyset(&signals);
    for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
    if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) {
      return system_failure("sigprocmask", "signals", errno);
    }
    signals_ = sys::Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_.valid()) return system_failure("signalfd", "signals", errno);
    return {};
  }

  Status listen(std::optional<Estate>& estate) {
    const AccessRules rules{options_.socket_mode, options_.socket_group, options_.allowed_users};
    LAMINA_ASSIGN_OR_RETURN(
        Acceptor acceptor,
        Acceptor::create(*states_, endpoints_, rules, options_.record,
                         estate ? std::move(estate->listening) : std::vector<sys::Fd>()));
    acceptor_ = std::make_unique<Acceptor>(std::move(acceptor));
    if (options_.metrics_socket.empty()) return {};
    LAMINA_ASSIGN_OR_RETURN(MetricsSocket metrics,
                            MetricsSocket::create(options_.metrics_socket,
                                                  estate ? std::move(estate->metrics) : sys::Fd()));
    metrics_ = std::make_unique<MetricsSocket>(std::move(metrics));
    return {};
  }

  void take_over(Estate& estate) {
    if (estate.worker > 0) {
      // A child of this process still, which was another program a moment ago.
      ::kill(estate.worker, SIGKILL);
      ::waitpid(estate.worker, nullptr, 0);
    }
    for (std::unique_ptr<Vm>& vm : estate.vms) {
      admit_found_vm(*states_, snapshots_, std::move(vm), vms_, totals_, options_.log);
    }
  }

  Status start_worker() {
    LAMINA_ASSIGN_OR_RETURN(auto ends, sys::message_socket_pair());
    const pid_t supervisor = ::getpid();
    worker_ = ::fork();
    if (worker_ < 0) return system_failure("fork", "serving process", errno);
    if (worker_ == 0) {
      ends.first.reset();
      be_worker(supervisor, std::move(ends.second));
    }
    control_ = std::move(ends.first);
    worker_started_ = Clock::now();
    if (stopping_) tell_worker(detach_message(), {});
    return {};
  }

  /// In the child: serves until the supervisor is gone, then takes its place.
  [[noreturn]] void be_worker(pid_t supervisor, sys::Fd control) {
    control_.reset();
    signals_.reset();
    acceptor_->forget_peers();
    if (metrics_) metrics_->forget_clients();
    const Status served = run_worker(snapshots_, vms_, control.get(),
                                     default_threads(options_.threads), options_.log);
    if (!served) {
      log(served.error().message);
      ::_exit(1);
    }
    if (options_.restart_command.empty()) ::_exit(1);
    log(fmt::format("supervisor {} is gone; this process takes its place", supervisor));
    const Error failed = exec_successor(options_.restart_command, descriptors(-1), vms_);
    log(failed.message);
    ::_exit(1);
  }

  [[nodiscard]] EstateDescriptors descriptors(pid_t worker) const {
    return {acceptor_->listening(), metrics_ ? metrics_->fd() : -1, worker};
  }

  void end_worker() {
    if (worker_ <= 0) return;
    ::kill(worker_, SIGKILL);
    ::waitpid(worker_, nullptr, 0);
    worker_ = -1;
  }

  Status loop() {
    const auto refuse = [this](const std::string& reason) {
      ++totals_.peers_refused;
      log(reason);
    };
    while (!finished_) {
      std::array<pollfd, 5> waiting = {pollfd{signals_.get(), POLLIN, 0},
                                       pollfd{control_.get(), POLLIN, 0},
                                       pollfd{stopping_ ? -1 : acceptor_->fd(), POLLIN, 0},
                                       pollfd{metrics_ ? metrics_->fd() : -1, POLLIN, 0},
                                       pollfd{metrics_ ? metrics_->clients_fd() : -1, POLLIN, 0}};
      static_cast<void>(::poll(waiting.data(), waiting.size(), acceptor_->expire(refuse)));
      if (waiting[1].revents != 0) handle_message();
      if (waiting[2].revents != 0) {
        acceptor_->handle([this](std::unique_ptr<Vm> vm) { admit(std::move(vm)); }, refuse);
      }
      if (waiting[3].revents != 0 || waiting[4].revents != 0) {
        metrics_->handle([this] { return format_metrics(sum_of(totals_, vms_)); });
      }
      if (waiting[0].revents != 0) LAMINA_RETURN_IF_ERROR(handle_signals());
    }
    return result_;
  }

  void admit(std::unique_ptr<Vm> vm) {
    vm->id = ++totals_.sessions_started;
    had_vms_ = true;
    const Vm& added = *vm;
    vms_[added.id] = std::move(vm);
    send_to_worker(added);
  }

  void send_to_worker(const Vm& vm) const {
    ControlMessage message;
    message.kind = MessageKind::kServe;
    message.id = vm.id;
    message.snapshot = vm.snapshot;
    message.text = vm.directory.name();
    const std::array<int, 4> fds = {vm.userfaultfd.get(), vm.pidfd.get(), vm.directory.fd(),
                                    vm.connection.get()};
    tell_worker(message, fds);
  }

  void tell_worker(const ControlMessage& message, std::span<const int> fds) const {
    const Status sent =
        sys::send_message(control_.get(), encode_control(message), fds, sys::WhenFull::kFail);
    // One that has died, or that does not read what it is told, has a successor soon, which is
    // forked from here and knows everything.
    if (!sent && worker_ > 0) ::kill(worker_, SIGKILL);
  }

  void handle_message() {
    const auto received = sys::receive_message(control_.get(), kMaxControlBytes);
    if (!received || received->bytes.empty()) {
      control_.reset();  // the worker is gone: SIGCHLD says so too
      return;
    }
    const auto message = decode_control(received->bytes);
    if (!message || message->kind != MessageKind::kEnded) return;
    const auto found = vms_.find(message->id);
    if (found == vms_.end()) return;
    const Vm& vm = *found->second;
    count_ended({message->id, message->state, message->text}, vm, totals_, options_.log);
    states_->remove(vm.directory);
    vms_.erase(found);
    had_vms_ = true;
    finish_if_done();
  }

  void finish_if_done() {
    if (vms_.empty() && (stopping_ || (options_.once && had_vms_))) {
      finished_ = true;
    }
  }

  Status handle_signals() {
    signalfd_siginfo signal{};
    while (::read(signals_.get(), &signal, sizeof(signal)) == sizeof(signal)) {
      switch (signal.ssi_signo) {
        case SIGCHLD:
          LAMINA_RETURN_IF_ERROR(reap_worker());
          break;
        case SIGHUP:
          be_succeeded();
          break;
        default:
          stop();
      }
    }
    return {};
  }

  Status reap_worker() {
    int status = 0;
    if (worker_ <= 0 || ::waitpid(worker_, &status, WNOHANG) != worker_) return {};
    worker_ = -1;
    ++totals_.worker_restarts;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
      log(fmt::format("the serving process ended by itself (status {:#x}); it is succeeded",
                      static_cast<unsigned>(status)));
      const bool quick = Clock::now() - worker_started_ < kQuick;
      quick_crashes_ = quick ? quick_crashes_ + 1 : 1;
      if (quick_crashes_ > kMaxQuickCrashes) return give_up();
    }
    return start_worker();
  }

  /// The serving process cannot even begin, or crashes at once, each time.
  Status give_up() {
    for (const auto& [id, vm] : vms_) {
      static_cast<void>(sys::kill_process(vm->pidfd.get()));
      states_->remove(vm->directory);
    }
    const std::size_t count = vms_.size();
    vms_.clear();
    return fail(ErrorKind::kFailed,
                "the serving process crashed {} times in a row; {} VMs that it served were killed",
                quick_crashes_, count);
  }

  void be_succeeded() {
    if (options_.restart_command.empty()) {
      log("SIGHUP is ignored: there is no command to go on with");
      return;
    }
    acceptor_->drop_peers();
    const Error failed = exec_successor(options_.restart_command, descriptors(worker_), vms_);
    log(fmt::format("no new process takes this one's place: {}", failed.message));
  }

  void stop() {
    if (stopping_) {
      if (!vms_.empty()) {
        result_ = fail(ErrorKind::kFailed,
                       "stopped while {} VMs need a page server; the next start takes them over",
                       vms_.size());
      }
      finished_ = true;
      return;
    }
    stopping_ = true;
    acceptor_->close();
    if (vms_.empty()) {
      finished_ = true;
      return;
    }
    log(
        fmt::format("stopping: the memory of {} VMs is filled first, so that they need nobody; a "
                    "second signal stops at once",
                    vms_.size()));
    tell_worker(detach_message(), {});
  }

  const ServeOptions& options_;
  Snapshots snapshots_;
  std::vector<Endpoint> endpoints_;
  std::unique_ptr<StateDirectory> states_;
  std::unique_ptr<Acceptor> acceptor_;
  std::unique_ptr<MetricsSocket> metrics_;
  sys::Fd signals_;
  sys::Fd control_;
  Vms vms_;
  pid_t worker_ = -1;
  Clock::time_point worker_started_;
  int quick_crashes_ = 0;
  bool had_vms_ = false;
  bool stopping_ = false;
  bool finished_ = false;
  Status result_;
  Totals totals_;
};

}  // namespace

Status serve(const ServeOptions& options) { return Supervisor(options).run(); }

}  // namespace lamina
