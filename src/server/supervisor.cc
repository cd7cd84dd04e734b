// The process that supervises: it accepts, keeps every descriptor, and starts a serving process
// whenever there is none. It does as little as possible, because nothing watches over it; should it
// be killed all the same, the serving process becomes one.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>

#include "base/error.h"
#include "lamina/serve.h"
#include "server/acceptor.h"
#include "server/control_message.h"
#include "server/metrics.h"
#include "server/metrics_socket.h"
#include "server/snapshots.h"
#include "server/succession.h"
#include "server/worker.h"
#include "sys/process.h"
#include "sys/unix_socket.h"

namespace lamina {
namespace {

using namespace server;  // NOLINT(google-build-using-namespace): this file is its entrance
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kMaxDefaultThreads = 4;

/// A serving process that crashes (not: is killed) so often in a row, each time so soon, meets the
/// same fault again and again: its VMs are killed instead of left waiting.
constexpr int kMaxQuickCrashes = 20;
constexpr std::chrono::seconds kQuick{1};

/// So long after the start VMs without a server are looked for.
constexpr std::chrono::seconds kLookingAgain{10};

class Supervisor {
 public:
  explicit Supervisor(const ServeOptions& options)
      : options_(options), snapshots_(options.populate) {}

  Status run() {
    LAMINA_RETURN_IF_ERROR(check_options());
    LAMINA_ASSIGN_OR_RETURN(StateDirectory states, StateDirectory::open(options_.state_directory));
    states_ = std::make_unique<StateDirectory>(std::move(states));
    LAMINA_ASSIGN_OR_RETURN(std::optional<Estate> estate, take_estate(*states_));
    LAMINA_RETURN_IF_ERROR(block_signals());
    const Status opened = open_snapshots(estate);
    if (estate) take_over(*estate);
    if (!opened) {
      end_unservable();
      return opened;
    }
    LAMINA_RETURN_IF_ERROR(listen(estate));
    const Status served = run_worker_and_loop();
    end_worker();
    acceptor_->close();
    if (metrics_) metrics_->remove();
    return served;
  }

 private:
  Status run_worker_and_loop() {
    LAMINA_RETURN_IF_ERROR(take_over_abandoned());
    look_again_until_ = Clock::now() + kLookingAgain;
    LAMINA_RETURN_IF_ERROR(start_worker());
    return loop();
  }

  Status check_options() const {
    if (options_.endpoints.empty()) return fail(ErrorKind::kUsage, "there is nothing to serve");
    for (std::size_t i = 0; i < options_.endpoints.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (options_.endpoints[i].socket == options_.endpoints[j].socket) {
          return fail(ErrorKind::kUsage, "'{}' is given for two snapshots",
                      options_.endpoints[i].socket);
        }
      }
      if (options_.endpoints[i].socket == options_.metrics_socket) {
        return fail(ErrorKind::kUsage, "'{}' is given for a snapshot and for metrics",
                    options_.metrics_socket);
      }
    }
    return {};
  }

  void log(const std::string& line) const {
    if (options_.log) options_.log(line);
  }

  /// A successor goes on without a snapshot that is gone: the VMs of others need it.
  Status open_snapshots(std::optional<Estate>& estate) {
    std::vector<std::string> notes;
    std::vector<sys::Fd> listening;
    for (std::size_t i = 0; i < options_.endpoints.size(); ++i) {
      const ServeEndpoint& endpoint = options_.endpoints[i];
      const auto index = snapshots_.open(endpoint.snapshot, notes);
      if (!index && (!estate || options_.endpoints.size() == 1))
        return std::unexpected(index.error());
      if (!index) {
        log(fmt::format("nobody can connect to '{}' any more: {}", endpoint.socket,
                        index.error().message));
        ::unlink(endpoint.socket.c_str());
        continue;
      }
      endpoints_.push_back({endpoint.socket, snapshots_.at(*index).facts});
      if (estate && i < estate->listening.size()) {
        listening.push_back(std::move(estate->listening[i]));
      }
    }
    if (estate) estate->listening = std::move(listening);
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
    auto metrics = MetricsSocket::create(options_.metrics_socket,
                                         estate ? std::move(estate->metrics) : sys::Fd());
    if (!metrics) {
      acceptor_->close();
      return std::unexpected(metrics.error());
    }
    metrics_ = std::make_unique<MetricsSocket>(std::move(*metrics));
    return {};
  }

  void take_over(Estate& estate) {
    if (estate.worker > 0) {
      // A child of this process still, which was another program a moment ago.
      ::kill(estate.worker, SIGKILL);
      ::waitpid(estate.worker, nullptr, 0);
    }
    for (std::unique_ptr<Vm>& vm : estate.vms) admit_found(std::move(vm));
  }

  /// This start fails: VMs that no other one could serve either are killed, the rest wait for it.
  void end_unservable() {
    auto abandoned = states_->claim_abandoned();
    if (!abandoned) return;
    std::vector<std::string> notes;
    for (VmDirectory& directory : *abandoned) {
      const auto vm = reacquire_vm(*states_, directory);
      if (!vm) {
        end_unserved(directory, vm.error());
        continue;
      }
      const auto index = snapshots_.find((*vm)->state.record(), notes);
      if (!index) end_unserved((*vm)->directory, index.error());
    }
  }

  /// A server that was killed a moment ago may still be on its way out, and hold what it served.
  Status look_again() {
    const std::size_t before = vms_.size();
    LAMINA_RETURN_IF_ERROR(take_over_abandoned());
    // They go to a new worker, as all do whose worker has died.
    if (vms_.size() > before && worker_ > 0) ::kill(worker_, SIGKILL);
    return {};
  }

  [[nodiscard]] bool looks_again() const { return Clock::now() < look_again_until_; }

  [[nodiscard]] int next_look_ms(int other_ms) const {
    constexpr int kLookMs = 100;
    if (!looks_again()) return other_ms;
    return other_ms < 0 ? kLookMs : std::min(other_ms, kLookMs);
  }

  Status take_over_abandoned() {
    LAMINA_ASSIGN_OR_RETURN(std::vector<VmDirectory> abandoned, states_->claim_abandoned());
    for (VmDirectory& directory : abandoned) {
      auto vm = reacquire_vm(*states_, directory);
      if (vm) {
        ++totals_.vms_reacquired;
        log(fmt::format("process {} is served again", (*vm)->state.record().pid));
        admit_found(std::move(*vm));
      } else {
        end_unserved(directory, vm.error());
      }
    }
    return {};
  }

  /// A VM from before: finds its snapshot. One that cannot be served is killed.
  void admit_found(std::unique_ptr<Vm> vm) {
    std::vector<std::string> notes;
    const auto index = snapshots_.find(vm->state.record(), notes);
    for (const std::string& note : notes) log(note);
    if (!index) return end_unserved(vm->directory, index.error());
    vm->snapshot = *index;
    vm->id = next_id_++;
    ++totals_.sessions_started;
    vms_[vm->id] = std::move(vm);
  }

  void end_unserved(const VmDirectory& directory, const Error& cause) {
    const auto killed = kill_abandoned(directory);
    if (!killed || *killed) {
      ++totals_.vms_killed;
      log(fmt::format("VM {} was killed, it cannot be served any more: {}{}", directory.name(),
                      cause.message, killed ? "" : "; " + killed.error().message));
    }
    states_->remove(directory);
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
    if (detaching_) tell_worker_to_detach();
    return {};
  }

  /// In the child: serves until the supervisor is gone, then takes its place.
  [[noreturn]] void be_worker(pid_t supervisor, sys::Fd control) {
    control_.reset();
    signals_.reset();
    acceptor_->forget_peers();
    if (metrics_) metrics_->forget_clients();
    const auto watched = sys::open_process(supervisor);
    const bool is_there = watched.has_value() && ::getppid() == supervisor;
    const WorkerOptions worker{thread_count(), is_there ? watched->get() : -1, options_.record,
                               options_.log};
    const Status served = is_there ? run_worker(snapshots_, vms_, control.get(), worker) : Status();
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

  [[nodiscard]] std::size_t thread_count() const {
    if (options_.threads > 0) return options_.threads;
    return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, kMaxDefaultThreads);
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
      static_cast<void>(
          ::poll(waiting.data(), waiting.size(), next_look_ms(acceptor_->expire(refuse))));
      if (waiting[1].revents != 0) handle_message();
      if (waiting[2].revents != 0) {
        acceptor_->handle([this](std::unique_ptr<Vm> vm) { admit(std::move(vm)); }, refuse);
      }
      if (waiting[3].revents != 0 || waiting[4].revents != 0) {
        metrics_->handle([this] { return format_metrics(totals_now()); });
      }
      if (waiting[0].revents != 0) LAMINA_RETURN_IF_ERROR(handle_signals());
      if (!stopping_ && looks_again()) LAMINA_RETURN_IF_ERROR(look_again());
      if (to_be_succeeded_ && !stopping_ && !acceptor_->has_peers()) be_succeeded();
    }
    return result_;
  }

  void admit(std::unique_ptr<Vm> vm) {
    vm->id = next_id_++;
    ++totals_.sessions_started;
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
    // A worker that died before it got this: its successor is forked from here and has the VM.
    static_cast<void>(sys::send_message(control_.get(), encode_control(message), fds));
  }

  void tell_worker_to_detach() const {
    ControlMessage message;
    message.kind = MessageKind::kDetach;
    static_cast<void>(sys::send_message(control_.get(), encode_control(message), {}));
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
    if (message->state == pager::SessionState::kKilled) {
      // Once more: a worker that never got hold of the VM could not.
      static_cast<void>(sys::kill_process(vm.pidfd.get()));
      ++totals_.vms_killed;
      log(fmt::format("process {} was killed, its memory could not be served from '{}': {}",
                      vm.state.record().pid, vm.state.record().snapshot, message->text));
    }
    add_counters(totals_.counters, vm.state.counters());
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
          ask_to_be_succeeded();
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
    if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) {
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

  /// Peers whose handshake is on its way are waited for, since they send it once; others wait at
  /// the sockets.
  void ask_to_be_succeeded() {
    if (options_.restart_command.empty()) {
      log("SIGHUP is ignored: there is no command to go on with");
      return;
    }
    if (stopping_) return;
    to_be_succeeded_ = true;
    acceptor_->hold(true);
  }

  void be_succeeded() {
    const Error failed = exec_successor(options_.restart_command, descriptors(worker_), vms_);
    log(fmt::format("no new process takes this one's place: {}", failed.message));
    to_be_succeeded_ = false;
    acceptor_->hold(false);
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
    detaching_ = true;
    tell_worker_to_detach();
  }

  [[nodiscard]] Totals totals_now() const {
    Totals totals = totals_;
    totals.sessions_running = vms_.size();
    for (const auto& [id, vm] : vms_) add_counters(totals.counters, vm->state.counters());
    return totals;
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
  std::uint64_t next_id_ = 1;
  pid_t worker_ = -1;
  Clock::time_point worker_started_;
  int quick_crashes_ = 0;
  bool had_vms_ = false;
  bool stopping_ = false;
  bool detaching_ = false;
  bool to_be_succeeded_ = false;
  Clock::time_point look_again_until_;
  bool finished_ = false;
  Status result_;
  Totals totals_;
};

}  // namespace

Status serve(const ServeOptions& options) { return Supervisor(options).run(); }

}  // namespace lamina
