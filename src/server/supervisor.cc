// The process that supervises: it accepts, keeps every descriptor, and starts a serving process
// whenever there is none. It does as little as possible, because nothing watches over it; should it
// be killed all the same, the serving process becomes one. While there are VMs nothing that fails
// ends it: it says so and tries again.
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
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/serve.h"
#include "server/acceptor.h"
#include "server/control_message.h"
#include "server/endpoint.h"
#include "server/metrics.h"
#include "server/metrics_socket.h"
#include "server/snapshots.h"
#include "server/store_lock.h"
#include "server/stranded.h"
#include "server/succession.h"
#include "server/takeover.h"
#include "server/worker.h"
#include "server/worker_process.h"
#include "sys/directory.h"
#include "sys/notify.h"
#include "sys/process.h"

namespace lamina {
namespace {

using namespace server;  // NOLINT(google-build-using-namespace): this file is its entrance
using Clock = std::chrono::steady_clock;

/// A round that has failed is followed by another one after so long.
constexpr int kAgainMs = 100;

/// The program that this process runs, whatever stands under its name by now.
constexpr const char* kThisProgram = "/proc/self/exe";

ControlMessage detach_message() {
  ControlMessage message;
  message.kind = MessageKind::kDetach;
  return message;
}

class Supervisor {
 public:
  explicit Supervisor(const ServeOptions& options)
      : options_(options),
        log_(options.log ? options.log : Log([](const std::string&) {})),
        snapshots_(options.populate, options.record),
        stranded_(options.store),
        worker_([this](sys::Fd control) { be_worker(std::move(control)); }, log_) {}

  Status run() {
    LAMINA_RETURN_IF_ERROR(check_serve_options(options_));
    LAMINA_ASSIGN_OR_RETURN(supervisor_pidfd_, sys::open_process(supervisor_));
    LAMINA_ASSIGN_OR_RETURN(StateDirectory states,
                            StateDirectory::open(options_.state_directory, options_.store));
    states_ = std::make_unique<StateDirectory>(std::move(states));
    LAMINA_ASSIGN_OR_RETURN(std::optional<Estate> estate, take_estate(*states_));
    LAMINA_RETURN_IF_ERROR(block_signals());
    const Status locked = lock_the_store(estate);
    if (!locked && locked.error().kind == ErrorKind::kBusy && !estate) return locked;
    const Status opened = locked ? open_snapshots(estate) : locked;
    if (estate) take_over(*estate);
    const Status listens = opened ? listen(estate) : opened;
    if (!listens) {
      // This start fails. VMs that no other one could serve either are killed; the rest wait for
      // it.
      look_for_abandoned();
      return listens;
    }
    look_for_abandoned();
    look_again_until_ = Clock::now() + kLookingAgain;
    if (!stopping_) manager_.tell_ready();
    loop();
    worker_.end();
    acceptor_->close();
    if (metrics_) metrics_->remove();
    return result_;
  }

 private:
  /// Before anything else of the store is touched: another server may have it.
  Status lock_the_store(std::optional<Estate>& estate) {
    if (options_.store.empty()) return {};
    if (estate) store_lock_ = std::move(estate->store_lock);
    if (!store_lock_.valid()) {
      LAMINA_ASSIGN_OR_RETURN(store_lock_, lock_store(options_.store));
    }
    LAMINA_ASSIGN_OR_RETURN(const std::string store, sys::real_path(options_.store));
    endpoints_.push_back(endpoint_of_store(page_server_socket(store), store, snapshots_, log_));
    return {};
  }

  /// A successor goes on without a snapshot that is gone: the VMs of others need it.
  Status open_snapshots(std::optional<Estate>& estate) {
    if (!options_.store.empty()) return {};
    std::vector<std::string> notes;
    std::vector<sys::Fd> listening;
    for (std::size_t i = 0; i < options_.endpoints.size(); ++i) {
      const ServeEndpoint& endpoint = options_.endpoints[i];
      auto service = snapshots_.open(endpoint.snapshot, notes);
      if (!service && (!estate || options_.endpoints.size() == 1)) {
        return std::unexpected(service.error());
      }
      if (!service) {
        log_(fmt::format("nobody can connect to '{}' any more: {}", endpoint.socket,
                         service.error().message));
        ::unlink(endpoint.socket.c_str());
        continue;
      }
      endpoints_.push_back(endpoint_of(endpoint.socket, std::move(*service)));
      if (estate && i < estate->listening.size()) {
        listening.push_back(std::move(estate->listening[i]));
      }
    }
    if (estate) estate->listening = std::move(listening);
    for (const std::string& note : notes) log_(note);
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
    // A predecessor that was stopping listened no more, and neither does this one.
    stopping_ = estate && estate->stopping;
    LAMINA_ASSIGN_OR_RETURN(
        Acceptor acceptor,
        Acceptor::create(*states_, stopping_ ? std::vector<Endpoint>() : endpoints_,
                         access_rules_of(options_),
                         estate ? std::move(estate->listening) : std::vector<sys::Fd>()));
    acceptor_ = std::make_unique<Acceptor>(std::move(acceptor));
    const std::string path = metrics_socket_of(options_);
    if (path.empty()) return {};
    auto metrics = MetricsSocket::create(path, estate ? std::move(estate->metrics) : sys::Fd(),
                                         at_path_of(options_));
    if (!metrics) {
      acceptor_->close();
      return std::unexpected(metrics.error());
    }
    metrics_ = std::make_unique<MetricsSocket>(std::move(*metrics));
    return {};
  }

  void take_over(Estate& estate) {
    // Opened while the worker still serves: nobody waits for it.
    std::vector<Service> opened;
    for (const std::unique_ptr<Vm>& vm : estate.vms) {
      std::vector<std::string> notes;  // come again below
      auto service = snapshots_.find(vm->state.record(), notes);
      if (service) opened.push_back(std::move(*service));
    }
    if (estate.worker > 0) {
      // A child of this process still, which was another program a moment ago.
      ::kill(estate.worker, SIGKILL);
      ::waitpid(estate.worker, nullptr, 0);
    }
    for (std::unique_ptr<Vm>& vm : estate.vms) {
      admit_found_vm(*states_, snapshots_, std::move(vm), vms_, totals_, log_);
    }
  }

  void look_for_abandoned() {
    const Status looked = take_over_abandoned(*states_, snapshots_, vms_, totals_, log_);
    if (!looked) log_(looked.error().message);
  }

  /// VMs that are found then go to a new worker, as all do whose worker has died.
  void look_again() {
    const std::size_t before = vms_.size();
    look_for_abandoned();
    if (vms_.size() > before) worker_.kill();
  }

  [[nodiscard]] bool looks_again() const { return Clock::now() < look_again_until_; }

  /// In the child an exception must end it: it would come back to the supervisor's loop.
  /// In the child: serves until the supervisor is gone, then takes its place.
  [[noreturn]] void be_worker(sys::Fd control) noexcept {
    signals_.reset();
    acceptor_->forget_peers();
    if (metrics_) metrics_->forget_clients();
    const auto ended = run_worker(snapshots_, vms_, control.get(), supervisor_pidfd_.get(),
                                  default_threads(options_.threads), log_);
    if (!ended) {
      log_(ended.error().message);
      ::_exit(1);
    }
    stopping_ = stopping_ || ended->detaching;
    if (options_.restart_command.empty()) ::_exit(1);
    log_(fmt::format("supervisor {} is gone; this process takes its place", supervisor_));
    manager_.to_environment();
    // This very program: what is on the disk now may be why the supervisor is gone.
    const Error failed =
        exec_successor(kThisProgram, options_.restart_command, descriptors(-1), vms_);
    log_(failed.message);
    ::_exit(1);
  }

  [[nodiscard]] EstateDescriptors descriptors(pid_t worker) const {
    // A child's copies of the sockets outlive the supervisor's stop.
    return {stopping_ ? std::vector<int>() : acceptor_->listening(), metrics_ ? metrics_->fd() : -1,
            store_lock_.get(), worker, stopping_};
  }

  void loop() {
    finish_if_done();
    while (!finished_) {
      const Status done = contain("supervisor", [&]() -> Status {
        do_round();
        return {};
      });
      // For want of memory: a little later it may be had. What there is no memory to say is not
      // said.
      if (!done) {
        static_cast<void>(contain("log", [&]() -> Status {
          log_(done.error().message);
          return {};
        }));
        static_cast<void>(::poll(nullptr, 0, kAgainMs));
      }
    }
  }

  void do_round() {
    if (worker_.start_if_due() && stopping_) worker_.tell(detach_message(), {});
    wait_and_handle();
    if (!stopping_ && looks_again()) look_again();
    stranded_.look_if_due(*states_, totals_, log_);
    if (to_be_succeeded_ && !acceptor_->has_peers()) be_succeeded();
    if (worker_.is_hopeless()) give_up();
    finish_if_done();
  }

  void wait_and_handle() {
    int wait_ms = sooner(acceptor_->expire(refuse_), worker_.next_start_ms());
    if (looks_again()) wait_ms = sooner(wait_ms, kLookMs);
    wait_ms = sooner(wait_ms, stranded_.due_ms());
    wait_ms = sooner(wait_ms, manager_.feed_watchdog());
    std::array<pollfd, 5> waiting = {
        pollfd{signals_.get(), POLLIN, 0}, pollfd{worker_.fd(), POLLIN, 0},
        pollfd{acceptor_->fd(), POLLIN, 0}, pollfd{metrics_ ? metrics_->fd() : -1, POLLIN, 0},
        pollfd{metrics_ ? metrics_->clients_fd() : -1, POLLIN, 0}};
    static_cast<void>(::poll(waiting.data(), waiting.size(), wait_ms));
    if (waiting[1].revents != 0) {
      const Status handled = contain("control message", [&]() -> Status {
        handle_message();
        return {};
      });
      // A successor says again what is lost.
      if (!handled) worker_.kill();
    }
    if (waiting[2].revents != 0) {
      acceptor_->handle(take_, refuse_);
    }
    if (waiting[3].revents != 0 || waiting[4].revents != 0) {
      metrics_->handle([this] { return format_metrics(totals_now()); });
    }
    if (waiting[0].revents != 0) handle_signals();
  }

  [[nodiscard]] Totals totals_now() const {
    Totals totals = sum_of(totals_, vms_);
    totals.worker_restarts = worker_.deaths();
    return totals;
  }

  void admit(std::unique_ptr<Vm> vm) {
    vm->id = ++totals_.sessions_started;
    had_vms_ = true;
    ControlMessage message;
    message.kind = MessageKind::kServe;
    message.id = vm->id;
    message.text = vm->directory.name();
    const std::array<int, 4> fds = {vm->userfaultfd.get(), vm->pidfd.get(), vm->directory.fd(),
                                    vm->connection.get()};
    vms_[message.id] = std::move(vm);
    const Status told = contain("serve a VM", [&]() -> Status {
      worker_.tell(message, fds);
      return {};
    });
    // From here on it is on record: a successor serves it.
    if (!told) worker_.kill();
  }

  void handle_message() {
    const auto message = worker_.receive();
    if (message && message->kind == MessageKind::kGiveWay) {
      log_(
          fmt::format("the serving process gives way to one that has open what it could not open: "
                      "{}",
                      message->text));
      return worker_.kill();
    }
    if (!message || message->kind != MessageKind::kEnded) return;
    const auto found = vms_.find(message->id);
    if (found == vms_.end()) return;
    const Vm& vm = *found->second;
    count_ended({message->id, message->state, message->text}, vm, totals_, log_);
    states_->remove(vm.directory);
    vms_.erase(found);
    had_vms_ = true;
  }

  void finish_if_done() {
    const bool is_over = stopping_ ? !acceptor_->has_peers() : options_.once && had_vms_;
    if (vms_.empty() && is_over) finished_ = true;
  }

  void handle_signals() {
    signalfd_siginfo signal{};
    while (::read(signals_.get(), &signal, sizeof(signal)) == sizeof(signal)) {
      switch (signal.ssi_signo) {
        case SIGCHLD:
          worker_.reap();
          break;
        case SIGHUP:
          ask_to_be_succeeded();
          break;
        default:
          stop();
      }
    }
  }

  /// The serving process crashes at once, each time: its VMs are killed instead of left waiting.
  void give_up() {
    for (const auto& [id, vm] : vms_) {
      static_cast<void>(sys::kill_process(vm->pidfd.get()));
      states_->remove(vm->directory);
    }
    result_ = fail(ErrorKind::kFailed,
                   "the serving process crashed again and again; {} VMs that it served were killed",
                   vms_.size());
    vms_.clear();
    finished_ = true;
  }

  /// Peers whose handshake is on its way are waited for, since they send it once; others wait at
  /// the sockets.
  void ask_to_be_succeeded() {
    if (options_.restart_command.empty()) {
      return log_("SIGHUP is ignored: there is no command to go on with");
    }
    to_be_succeeded_ = true;
    acceptor_->hold(true);
  }

  void be_succeeded() {
    manager_.to_environment();
    const Error failed = exec_successor(options_.restart_command.front(), options_.restart_command,
                                        descriptors(worker_.pid()), vms_);
    manager_ = sys::ServiceManager::from_environment();
    log_(fmt::format("no new process takes this one's place: {}", failed.message));
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
    manager_.tell("STOPPING=1");
    // Who has connected already cannot connect anywhere else: they are let in, and served.
    acceptor_->stop_listening(take_, refuse_);
    if (vms_.empty()) return;
    // Told before it is said: whoever reads it may count on it, even if this process is killed now.
    worker_.tell(detach_message(), {});
    log_(
        fmt::format("stopping: the memory of {} VMs is filled first, so that they need nobody; a "
                    "second signal stops at once",
                    vms_.size()));
  }

  const ServeOptions& options_;
  Log log_;
  const pid_t supervisor_ = ::getpid();  ///< asked before any fork: a child's parent may be gone
  sys::Fd supervisor_pidfd_;  ///< the same: what it has told a child counts when it is gone
  // What the acceptor's findings become.
  const std::function<void(std::unique_ptr<Vm>)> take_ = [this](std::unique_ptr<Vm> vm) {
    admit(std::move(vm));
  };
  const std::function<void(const std::string&)> refuse_ = [this](const std::string& reason) {
    ++totals_.peers_refused;
    log_(reason);
  };
  Snapshots snapshots_;
  sys::ServiceManager manager_ = sys::ServiceManager::from_environment();
  sys::Fd store_lock_;
  std::vector<Endpoint> endpoints_;
  std::unique_ptr<StateDirectory> states_;
  StrandedVms stranded_;
  std::unique_ptr<Acceptor> acceptor_;
  std::unique_ptr<MetricsSocket> metrics_;
  sys::Fd signals_;
  Vms vms_;
  WorkerProcess worker_;
  Clock::time_point look_again_until_;
  bool had_vms_ = false;
  bool stopping_ = false;
  bool to_be_succeeded_ = false;
  bool finished_ = false;
  Status result_;
  Totals totals_;
};

}  // namespace

Status serve(const ServeOptions& options) {
  return contain("page server", [&] { return Supervisor(options).run(); });
}

}  // namespace lamina
