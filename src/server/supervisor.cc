// The process that supervises: it accepts, keeps every descriptor, and starts a serving process
// whenever there is none. It does as little as possible, because nothing watches over it; should it
// be killed all the same, the serving process becomes one, as it is: with all that it has open,
// whatever names and modes are by then. While there are VMs nothing that fails ends it: it says so
// and tries again.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/serve.h"
#include "os/directory.h"
#include "os/notify.h"
#include "os/path_walk.h"
#include "os/process.h"
#include "server/acceptor.h"
#include "server/control_message.h"
#include "server/control_socket.h"
#include "server/elimination.h"
#include "server/endpoint.h"
#include "server/log_file.h"
#include "server/log_limiter.h"
#include "server/metrics.h"
#include "server/metrics_socket.h"
#include "server/snapshots.h"
#include "server/store_lock.h"
#include "server/store_place.h"
#include "server/stranded.h"
#include "server/succession.h"
#include "server/takeover.h"
#include "server/trial.h"
#include "server/worker.h"
#include "server/worker_process.h"

namespace lamina {
namespace {

using namespace server;  // NOLINT(google-build-using-namespace): this file is its entrance
using Clock = std::chrono::steady_clock;

/// A store's log is moved away when it has more bytes, and one that was moved is kept.
constexpr std::uint64_t kMaxLogBytes = std::uint64_t{8} << 20;
/// A round that has failed is followed by another one after so long.
constexpr int kAgainMs = 100;

/// What ps(1) and the like call a serving process.
constexpr const char* kWorkerName = "lamina-worker";

/// Between two attempts at what must succeed.
constexpr std::chrono::milliseconds kFirstPause{10};
constexpr std::chrono::milliseconds kLongestPause{1000};

ControlMessage message_of(MessageKind kind) {
  ControlMessage message;
  message.kind = kind;
  return message;
}

class Supervisor {
 public:
  explicit Supervisor(const ServeOptions& options)
      : options_(options),
        limiter_(options.log),
        snapshots_(options.populate, options.record),
        worker_([this](os::Fd control) { be_worker(std::move(control)); }, log_) {}

  Status run() {
    LAMINA_RETURN_IF_ERROR(check_serve_options(options_));
    LAMINA_ASSIGN_OR_RETURN(std::optional<Estate> estate, take_estate());
    const bool is_trial = estate && estate->is_trial;
    LAMINA_RETURN_IF_ERROR(estate ? succeed(*estate) : start());
    if (is_trial) return {};
    estate.reset();
    look_for_abandoned();
    look_again_until_ = Clock::now() + kLookingAgain;
    if (!stopping_) manager_.tell_ready();
    loop();
    end();
    return result_;
  }

 private:
  Status start() {
    LAMINA_ASSIGN_OR_RETURN(StateDirectory states,
                            StateDirectory::open(options_.state_directory, options_.store));
    states_ = std::make_unique<StateDirectory>(std::move(states));
    LAMINA_RETURN_IF_ERROR(watch_itself());
    // Before anything else of the store is touched: another server may have it.
    if (!options_.store.empty()) {
      LAMINA_ASSIGN_OR_RETURN(store_lock_, lock_store(options_.store));
      LAMINA_ASSIGN_OR_RETURN(StorePlace store, StorePlace::open(options_.store));
      store_.emplace(std::move(store));
    }
    const Status listens = listen();
    // This start fails. VMs that no other one could serve either are killed; the rest wait for it.
    if (!listens) look_for_abandoned();
    return listens;
  }

  Status listen() {
    for (const ServeEndpoint& endpoint : options_.endpoints) {
      std::vector<std::string> notes;
      LAMINA_ASSIGN_OR_RETURN(Service service, snapshots_.open(endpoint.snapshot, notes));
      for (const std::string& note : notes) log_(note);
      endpoints_.push_back(endpoint_of(endpoint.socket, std::move(service)));
    }
    use_store();
    LAMINA_ASSIGN_OR_RETURN(Acceptor acceptor,
                            Acceptor::create(*states_, endpoints_, access_rules_of(options_), {}));
    acceptor_ = std::make_unique<Acceptor>(std::move(acceptor));
    const Status answers = open_answering_sockets();
    if (!answers) acceptor_->close();
    return answers;
  }

  Status open_answering_sockets() {
    if (store_) {
      LAMINA_ASSIGN_OR_RETURN(
          ControlSocket control,
          ControlSocket::create(control_socket_of(store_->path()), os::Fd(), at_path_of(options_)));
      control_ = std::make_unique<ControlSocket>(std::move(control));
    }
    // The last one that is made.
    const std::string path = metrics_path();
    if (path.empty()) return {};
    LAMINA_ASSIGN_OR_RETURN(MetricsSocket metrics,
                            MetricsSocket::create(path, os::Fd(), at_path_of(options_)));
    metrics_ = std::make_unique<MetricsSocket>(std::move(metrics));
    return {};
  }

  void use_store() {
    if (!store_) return;
    snapshots_.set_store(*store_);
    stranded_.set_store(*store_);
    endpoints_.push_back(
        endpoint_of_store(page_server_socket(store_->path()), *store_, snapshots_, log_));
    const std::string area = os::parent_of(page_server_socket(store_->path()));
    const auto directory = os::open_directory(AT_FDCWD, area, area);
    rotates_log_ = directory && log_file_.is_in(directory->get(), kStoreLogName);
  }

  [[nodiscard]] std::string metrics_path() const {
    return store_ ? page_server_metrics_socket(store_->path()) : options_.metrics_socket;
  }

  /// In the place of a predecessor, by exec. All that may fail is done while its serving process
  /// still serves. When something does, this process ends, and that one, which has open all that
  /// it needs, takes its place; where there is none, it is tried again until it succeeds.
  Status succeed(Estate& estate) {
    states_ = std::make_unique<StateDirectory>(std::move(estate.states));
    store_ = std::move(estate.store);
    log_file_ = std::move(estate.log);
    store_lock_ = std::move(estate.store_lock);
    stopping_ = estate.stopping;
    std::vector<Result<Service>> services;
    std::chrono::milliseconds pause = kFirstPause;
    while (true) {
      const Status prepared = prepare(estate, services);
      if (prepared) break;
      if (estate.is_trial || serves_still(estate) || estate.vms.empty()) return prepared;
      log_(fmt::format("VMs wait for what cannot be had yet: {}", prepared.error().message));
      wait(pause);
    }
    if (estate.is_trial) return {};
    if (serves_still(estate)) {
      // A child of this process still, which was another program a moment ago.
      const auto pidfd = os::open_process(estate.worker);
      ::kill(estate.worker, SIGKILL);
      // One that a tracer holds at its end serves nobody any more.
      constexpr std::chrono::seconds kLongest{10};
      if (pidfd) static_cast<void>(os::wait_for_end(pidfd->get(), kLongest));
      ::waitpid(estate.worker, nullptr, WNOHANG);
    }
    for (std::size_t i = 0; i < estate.vms.size(); ++i) {
      admit_left_vm(std::move(estate.vms[i]), std::move(services[i]));
    }
    return {};
  }

  Status prepare(Estate& estate, std::vector<Result<Service>>& services) {
    if (!supervisor_pidfd_.valid()) LAMINA_RETURN_IF_ERROR(watch_itself());
    if (endpoints_.empty()) LAMINA_RETURN_IF_ERROR(reopen_endpoints(estate));
    services.clear();
    for (const std::unique_ptr<Vm>& vm : estate.vms) {
      std::vector<std::string> notes;
      services.push_back(snapshots_.find(vm->state.record(), notes));
      const auto& service = services.back();
      // A pin goes with its VM.
      if (service || os::has_ended(vm->pidfd.get())) continue;
      const bool never = service.error().kind == ErrorKind::kNotFound ||
                         service.error().kind == ErrorKind::kCorrupt;
      if (!never || estate.is_trial || serves_still(estate)) {
        return std::unexpected(
            with_context(fmt::format("VM {}", vm->directory.name()), service.error()));
      }
    }
    if (estate.is_trial) return {};
    LAMINA_ASSIGN_OR_RETURN(
        Acceptor acceptor,
        Acceptor::create(*states_, stopping_ ? std::vector<Endpoint>() : endpoints_,
                         access_rules_of(options_), std::move(estate.listening)));
    acceptor_ = std::make_unique<Acceptor>(std::move(acceptor));
    if (estate.control.valid()) {
      LAMINA_ASSIGN_OR_RETURN(
          ControlSocket control,
          ControlSocket::create(control_socket_of(store_->path()), std::move(estate.control),
                                at_path_of(options_)));
      control_ = std::make_unique<ControlSocket>(std::move(control));
    }
    if (!estate.metrics.valid()) return {};
    LAMINA_ASSIGN_OR_RETURN(
        MetricsSocket metrics,
        MetricsSocket::create(metrics_path(), std::move(estate.metrics), at_path_of(options_)));
    metrics_ = std::make_unique<MetricsSocket>(std::move(metrics));
    return {};
  }

  /// Without those whose snapshots are gone: the VMs of others need a server.
  Status reopen_endpoints(Estate& estate) {
    std::vector<os::Fd> listening;
    for (std::size_t i = 0; i < options_.endpoints.size(); ++i) {
      const ServeEndpoint& endpoint = options_.endpoints[i];
      std::vector<std::string> notes;
      auto service = snapshots_.open(endpoint.snapshot, notes);
      for (const std::string& note : notes) log_(note);
      if (!service) {
        log_(fmt::format("nobody can connect to '{}' any more: {}", endpoint.socket,
                         service.error().message));
        if (!estate.is_trial) ::unlink(endpoint.socket.c_str());
        continue;
      }
      endpoints_.push_back(endpoint_of(endpoint.socket, std::move(*service)));
      if (i < estate.listening.size()) listening.push_back(std::move(estate.listening[i]));
    }
    if (!store_) estate.listening = std::move(listening);
    use_store();
    return {};
  }

  static bool serves_still(Estate& estate) {
    if (estate.worker <= 0) return false;
    if (::waitpid(estate.worker, nullptr, WNOHANG) == 0) return true;
    estate.worker = -1;
    return false;
  }

  void admit_left_vm(std::unique_ptr<Vm> vm, Result<Service> service) {
    if (service) {
      vm->service = std::move(*service);
      vm->id = ++totals_.sessions_started;
      vms_[vm->id] = std::move(vm);
      return;
    }
    if (os::has_ended(vm->pidfd.get())) return states_->remove(vm->directory);
    kill_vm(*vm, service.error().message);
  }

  /// One that can never be served.
  void kill_vm(const Vm& vm, const std::string& cause) {
    static_cast<void>(os::kill_process(vm.pidfd.get()));
    ++totals_.vms_killed;
    log_(fmt::format("VM {} was killed, it cannot be served any more: {}", vm.directory.name(),
                     cause));
    states_->remove(vm.directory);
  }

  static void wait(std::chrono::milliseconds& pause) {
    ::poll(nullptr, 0, static_cast<int>(pause.count()));
    pause = std::min(pause * 2, kLongestPause);
  }

  /// What a serving process sees of this one, and the signals.
  Status watch_itself() {
    LAMINA_ASSIGN_OR_RETURN(os::Fd itself, os::open_process(::getpid()));
    LAMINA_RETURN_IF_ERROR(block_signals());
    supervisor_ = ::getpid();
    supervisor_pidfd_ = std::move(itself);
    return {};
  }

  Status block_signals() {
    sigset_t signals{};
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
    if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) {
      return system_failure("sigprocmask", "signals", errno);
    }
    signals_ = os::Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_.valid()) return system_failure("signalfd", "signals", errno);
    return {};
  }

  void look_for_abandoned() {
    const auto some_wait = take_over_abandoned(*states_, snapshots_, vms_, totals_, log_);
    if (!some_wait) log_(some_wait.error().message);
    if (!some_wait || *some_wait) look_again_until_ = Clock::now() + kLookingAgain;
  }

  /// VMs that are found then go to a new worker, as all do whose worker has died.
  void look_again() {
    const std::size_t before = vms_.size();
    look_for_abandoned();
    if (vms_.size() > before) worker_.kill();
  }

  [[nodiscard]] bool looks_again() const { return Clock::now() < look_again_until_; }

  /// In the child: serves until the supervisor is gone.
  void be_worker(os::Fd control) {
    std::array<char, 16> own_name{};
    ::prctl(PR_GET_NAME, own_name.data());
    ::prctl(PR_SET_NAME, kWorkerName);
    signals_.reset();
    limiter_.forget();
    trial_.forget();
    acceptor_->forget_peers();
    if (metrics_) metrics_->forget_clients();
    Vms waiting = take_waiting();
    try {
      const auto ended = run_worker(snapshots_, vms_, control.get(), supervisor_pidfd_.get(),
                                    default_threads(options_.threads), log_);
      if (!ended) {
        log_(fmt::format("no serving process can begin yet: {}", ended.error().message));
        ::_exit(WorkerProcess::kExitCannotBegin);
      }
      stopping_ = stopping_ || ended->detaching;
    } catch (const std::exception& exception) {
      log_(fmt::format("no serving process can begin yet: {}", exception.what()));
      ::_exit(WorkerProcess::kExitCannotBegin);
    }
    vms_.merge(waiting);
    ::prctl(PR_SET_NAME, own_name.data());
  }

  /// The VMs that the next serving process does not serve.
  Vms take_waiting() {
    Vms waiting;
    if (!elimination_.served()) return waiting;
    for (const std::uint64_t id : ids()) {
      if (!elimination_.served()->contains(id)) waiting.insert(vms_.extract(id));
    }
    return waiting;
  }

  /// In the child, when the supervisor is gone: goes on in its place, with what is open.
  void take_the_place() {
    log_(fmt::format("supervisor {} is gone; process {} takes its place", supervisor_, ::getpid()));
    is_in_place_ = true;
    elimination_ = {};
    to_be_succeeded_ = false;
    std::chrono::milliseconds pause = kFirstPause;
    while (true) {
      const Status resumed = resume();
      if (resumed) break;
      log_(fmt::format("VMs wait for what cannot be had yet: {}", resumed.error().message));
      wait(pause);
    }
    if (!vms_.empty()) {
      totals_.sessions_started = std::max(totals_.sessions_started, vms_.rbegin()->first);
      had_vms_ = true;
    }
    look_for_abandoned();
    look_again_until_ = Clock::now() + kLookingAgain;
    if (!stopping_) manager_.tell_ready();
    finish_if_done();
  }

  Status resume() {
    LAMINA_RETURN_IF_ERROR(watch_itself());
    if (metrics_) LAMINA_RETURN_IF_ERROR(metrics_->resume());
    // A child's copies of the sockets outlive the supervisor's stop.
    return acceptor_->resume(!stopping_);
  }

  [[nodiscard]] Bequest bequest(pid_t worker) const {
    return {*states_,
            store_ ? &*store_ : nullptr,
            log_file_,
            stopping_ ? std::vector<int>() : acceptor_->listening(),
            control_ ? control_->fd() : -1,
            metrics_ ? metrics_->fd() : -1,
            store_lock_.get(),
            worker,
            stopping_,
            vms_};
  }

  void loop() {
    finish_if_done();
    while (!finished_) {
      const Status done = contain("supervisor", [&]() -> Status {
        go_on();
        return {};
      });
      if (done) continue;
      // For want of memory: a little later it may be had. A VM that it was about is found again by
      // its state. What there is no memory to say is not said.
      static_cast<void>(contain("log", [&]() -> Status {
        log_(done.error().message);
        return {};
      }));
      look_again_until_ = Clock::now() + kLookingAgain;
      static_cast<void>(::poll(nullptr, 0, kAgainMs));
    }
  }

  void go_on() {
    switch (worker_.start_if_due()) {
      case WorkerProcess::Start::kNone:
        break;
      case WorkerProcess::Start::kBegun:
        if (stopping_) worker_.tell(message_of(MessageKind::kDetach), {});
        break;
      case WorkerProcess::Start::kIsInPlace:
        take_the_place();
        return;
    }
    wait_and_handle();
    limiter_.write_counts();
    if (rotates_log_ && log_file_.rotate_if_larger(kMaxLogBytes)) tell_log();
    if (!stopping_ && looks_again()) look_again();
    stranded_.look_if_due(*states_, totals_, log_);
    judge_worker();
    go_on_with_succession();
    finish_if_done();
  }

  void end() {
    limiter_.write_counts(Clock::now() + LogLimiter::kPeriod);
    worker_.end();
    acceptor_->close();
    if (control_) control_->remove(control_socket_of(store_->path()));
    if (metrics_) metrics_->remove(metrics_path());
    if (!is_in_place_) return;
    // What called is not this process, but that whose place it has.
    if (!result_) log_(result_.error().message);
    ::_exit(result_ ? 0 : 1);
  }

  void wait_and_handle() {
    int wait_ms = sooner(acceptor_->expire(refuse_), worker_.next_start_ms());
    if (looks_again()) wait_ms = sooner(wait_ms, kLookMs);
    if (elimination_.served()) wait_ms = sooner(wait_ms, worker_.lives_in_ms());
    for (const int due_ms :
         {stranded_.due_ms(), manager_.feed_watchdog(), limiter_.due_ms(), trial_.due_ms()}) {
      wait_ms = sooner(wait_ms, due_ms);
    }
    std::array<pollfd, 8> waiting = {pollfd{signals_.get(), POLLIN, 0},
                                     pollfd{worker_.fd(), POLLIN, 0},
                                     pollfd{acceptor_->fd(), POLLIN, 0},
                                     pollfd{metrics_ ? metrics_->fd() : -1, POLLIN, 0},
                                     pollfd{metrics_ ? metrics_->clients_fd() : -1, POLLIN, 0},
                                     pollfd{control_ ? control_->fd() : -1, POLLIN, 0},
                                     pollfd{trial_.fd(), POLLIN, 0},
                                     pollfd{worker_.ended_fd(), POLLIN, 0}};
    static_cast<void>(::poll(waiting.data(), waiting.size(), wait_ms));
    if (waiting[5].revents != 0) control_->handle();
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
    if (waiting[7].revents != 0 && worker_.reap() == WorkerProcess::Death::kCrashAtOnce) {
      elimination_.crashed(ids());
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
    // While one VM is looked for that crashes serving processes, others wait for the next.
    if (elimination_.served()) return;
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
        case SIGHUP:
          reopen_log();
          try_new_program();
          break;
        default:
          stop();
      }
    }
  }

  [[nodiscard]] Elimination::Ids ids() const {
    Elimination::Ids ids;
    for (const auto& [id, vm] : vms_) ids.insert(id);
    return ids;
  }

  /// Serving processes may crash by one VM, which is killed, so that the others are served.
  void judge_worker() {
    if (worker_.has_lived() && judged_ != worker_.pid()) {
      judged_ = worker_.pid();
      const bool was_some = elimination_.served().has_value();
      elimination_.lived(ids());
      if (was_some) worker_.kill();
    }
    const auto guilty = elimination_.take_guilty();
    const auto found = guilty ? vms_.find(*guilty) : vms_.end();
    if (found == vms_.end()) return;
    kill_vm(*found->second, "serving processes crash by it, each one at once");
    vms_.erase(found);
    had_vms_ = true;
  }

  void reopen_log() {
    const Status opened = log_file_.reopen();
    if (!opened)
      return log_(fmt::format("the log goes on where it is: {}", opened.error().message));
    tell_log();
  }

  void tell_log() {
    const std::array<int, 1> fds = {STDERR_FILENO};
    worker_.tell(message_of(MessageKind::kLog), fds);
  }

  /// It takes this one's place once it has shown that it can.
  void try_new_program() {
    if (options_.restart_command.empty()) {
      return log_("SIGHUP changes nothing else: there is no command to go on with");
    }
    if (trial_.runs() || to_be_succeeded_) return;
    const Status begun = trial_.begin(options_.restart_command, bequest(-1));
    if (!begun)
      log_(fmt::format("no new process takes this one's place: {}", begun.error().message));
  }

  /// Peers whose handshake is on its way are waited for, since they send it once; others wait at
  /// the sockets. And the serving process, which would go on if the new program did not.
  void go_on_with_succession() {
    if (const auto outcome = trial_.take_outcome()) {
      if (*outcome) {
        to_be_succeeded_ = true;
        acceptor_->hold(true);
      } else {
        log_(fmt::format("no new process takes this one's place: {}", outcome->error().message));
      }
    }
    const bool is_safe = worker_.pid() > 0 || vms_.empty();
    if (to_be_succeeded_ && is_safe && !acceptor_->has_peers()) be_succeeded();
  }

  void be_succeeded() {
    manager_.to_environment();
    const Error failed =
        exec_successor(options_.restart_command, bequest(worker_.pid()), Purpose::kSucceed);
    manager_ = os::ServiceManager::from_environment();
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
    worker_.tell(message_of(MessageKind::kDetach), {});
    log_(
        fmt::format("stopping: the memory of {} VMs is filled first, so that they need nobody; a "
                    "second signal stops at once",
                    vms_.size()));
  }

  const ServeOptions& options_;
  LogLimiter limiter_;
  const Log log_ = [this](const std::string& line) { limiter_.say(line); };
  LogFile log_file_ = LogFile::of_stderr();
  bool rotates_log_ = false;
  pid_t supervisor_ = -1;    ///< asked before any fork: a child's parent may be gone
  os::Fd supervisor_pidfd_;  ///< the same: what it has told a child counts when it is gone
  // What the acceptor's findings become.
  const std::function<void(std::unique_ptr<Vm>)> take_ = [this](std::unique_ptr<Vm> vm) {
    admit(std::move(vm));
  };
  const std::function<void(const std::string&)> refuse_ = [this](const std::string& reason) {
    ++totals_.peers_refused;
    log_(reason);
  };
  std::optional<StorePlace> store_;
  Snapshots snapshots_;
  os::ServiceManager manager_ = os::ServiceManager::from_environment();
  os::Fd store_lock_;
  std::vector<Endpoint> endpoints_;
  std::unique_ptr<StateDirectory> states_;
  StrandedVms stranded_;
  std::unique_ptr<Acceptor> acceptor_;
  std::unique_ptr<ControlSocket> control_;
  std::unique_ptr<MetricsSocket> metrics_;
  os::Fd signals_;
  Vms vms_;
  WorkerProcess worker_;
  pid_t judged_ = -1;  ///< the serving process that was found to live
  Elimination elimination_;
  Trial trial_;
  Clock::time_point look_again_until_;
  bool is_in_place_ = false;  ///< of a supervisor that was killed
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
