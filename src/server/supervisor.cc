// The process that supervises: it accepts, keeps every descriptor, and starts a serving process
// whenever there is none. It does as little as possible, because nothing watches over it; should it
// be killed all the same, the serving process becomes one, as it is: with all that it has open,
// whatever names and modes are by then. While there are VMs nothing that fails ends it: it says so
// and tries again.
//
// Its one thread waits for no disk: snapshots are opened by threads of their own (openings.h).
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/serve.h"
#include "os/notify.h"
#include "os/poll.h"
#include "os/process.h"
#include "os/unix_socket.h"
#include "server/control_message.h"
#include "server/log_limiter.h"
#include "server/metrics.h"
#include "server/retry_pause.h"
#include "server/server_parts.h"
#include "server/succession.h"
#include "server/supervisor_signals.h"
#include "server/wait_time.h"
#include "server/worker.h"

namespace lamina {
namespace {

using namespace server;  // NOLINT(google-build-using-namespace): this file is its entrance
using Clock = std::chrono::steady_clock;

/// A store's log is moved away when it has more bytes, and one that was moved is kept.
constexpr std::uint64_t kMaxLogBytes = std::uint64_t{8} << 20;
/// A round that has failed is followed by another one after so long.
constexpr int kAgainMs = 100;

/// A supervisor and its serving process use fewer, besides those of layers and VMs.
constexpr std::uint64_t kLeastOpenFiles = 64;

/// What ps(1) and the like call a serving process.
constexpr const char* kWorkerName = "lamina-worker";

class Supervisor {
 public:
  explicit Supervisor(const ServeOptions& options)
      : options_(options),
        limiter_(options.log),
        succession_(options.restart_command, log_),
        parts_(options, log_, [this](os::Fd control) { be_worker(std::move(control)); }) {}

  Status run() {
    LAMINA_RETURN_IF_ERROR(check_serve_options(options_));
    LAMINA_RETURN_IF_ERROR(os::check_open_file_limit(kLeastOpenFiles, "a page server"));
    LAMINA_ASSIGN_OR_RETURN(std::optional<InheritedState> state, take_inherited_state());
    const bool is_trial = state && state->is_trial;
    const Status begun = contain("page server", [&] { return state ? succeed(*state) : start(); });
    // Threads that read still use what a return would destroy.
    if (!begun && openings_.are_running()) exit_with(begun);
    LAMINA_RETURN_IF_ERROR(begun);
    if (is_trial) return {};
    is_starting_ = !state;
    state.reset();
    parts_.takeover().begin();
    if (!stopping_ && !is_starting_) manager_.notify_ready();
    loop();
    end();
    return result_;
  }

 private:
  Status start() {
    LAMINA_RETURN_IF_ERROR(watch_itself());
    return parts_.start();
  }

  Status succeed(InheritedState& state) {
    stopping_ = state.stopping;
    return parts_.succeed(state, [this]() -> Status {
      return supervisor_pidfd_.valid() ? Status() : watch_itself();
    });
  }

  /// What a serving process sees of this one, and the signals.
  Status watch_itself() {
    LAMINA_ASSIGN_OR_RETURN(os::Fd itself, os::open_process(::getpid()));
    LAMINA_RETURN_IF_ERROR(signals_.block());
    supervisor_ = ::getpid();
    supervisor_pidfd_ = std::move(itself);
    return {};
  }

  /// In the child: ends it, since it cannot serve.
  [[noreturn]] void give_up_serving(int control, const std::string& cause) const {
    static_cast<void>(contain("serving process", [&]() -> Status {
      log_(fmt::format("no serving process can begin yet: {}", cause));
      ControlMessage message = message_of(MessageKind::kCannotBegin);
      message.text = cause;
      return os::send_message(control, encode_control(message), {}, os::WhenFull::kFail);
    }));
    ::_exit(WorkerProcess::kExitCannotBegin);
  }

  /// In the child: serves until the supervisor is gone.
  void be_worker(os::Fd control) {
    std::array<char, 16> own_name{};
    ::prctl(PR_GET_NAME, own_name.data());
    ::prctl(PR_SET_NAME, kWorkerName);
    signals_.forget();
    limiter_.forget();
    succession_.forget();
    parts_.sockets().forget_clients();
    parts_.admission().forget();
    parts_.takeover().forget();
    openings_.forget();
    parts_.predecessor().forget();
    Vms waiting = keeper_.take_waiting();
    try {
      auto ended = run_worker(parts_.resources().snapshots(), keeper_.vms(), control.get(),
                              supervisor_pidfd_.get(), default_threads(options_.threads), log_);
      if (!ended) give_up_serving(control.get(), one_line(ended.error()));
      if (ended->detaching) stopping_ = true;
      unopened_ = std::move(ended->unopened);
    } catch (const std::exception& exception) {
      give_up_serving(control.get(), exception.what());
    }
    keeper_.vms().merge(waiting);
    ::prctl(PR_SET_NAME, own_name.data());
  }

  /// In the child, when the supervisor is gone: goes on in its place, with what is open.
  void replace_supervisor() {
    log_(fmt::format("supervisor {} is gone; process {} takes its place", supervisor_, ::getpid()));
    replaces_supervisor_ = true;
    is_starting_ = false;
    keeper_.reset_elimination();
    RetryPause pause;
    while (true) {
      const Status resumed = resume();
      if (resumed) break;
      log_(fmt::format("VMs wait for what cannot be had yet: {}", one_line(resumed.error())));
      pause.wait();
    }
    for (const auto& [id, vm] : keeper_.vms()) keeper_.note_id(id);
    for (const auto& vm : unopened_) keeper_.note_id(vm->id);
    if (stopping_) keeper_.detach();
    for (auto& vm : std::exchange(unopened_, {})) parts_.takeover().add(std::move(vm));
    parts_.takeover().begin();
    if (!stopping_) manager_.notify_ready();
    finish_if_done();
  }

  Status resume() {
    LAMINA_RETURN_IF_ERROR(watch_itself());
    LAMINA_RETURN_IF_ERROR(openings_.start());
    // A child's copies of the sockets outlive the supervisor's stop.
    return parts_.sockets().resume(!stopping_);
  }

  void loop() {
    finish_if_done();
    while (!finished_) {
      const Status done = contain("supervisor", [&] { return go_on(); });
      if (done) continue;
      // For want of memory, usually: a little later it may be had. A VM that it was about is found
      // again by its state. What there is no memory to say is not said.
      static_cast<void>(contain("log", [&]() -> Status {
        log_(one_line(done.error()));
        return {};
      }));
      parts_.takeover().look_again();
      static_cast<void>(::poll(nullptr, 0, kAgainMs));
    }
  }

  Status go_on() {
    go_on_with_predecessor();
    if (!parts_.has_predecessor() && keeper_.start_if_due() == WorkerProcess::Start::kIsSuccessor) {
      replace_supervisor();
      return {};
    }
    LAMINA_RETURN_IF_ERROR(wait_and_handle());
    limiter_.write_counts();
    if (parts_.resources().rotates_log() &&
        parts_.resources().log_file().rotate_if_larger(kMaxLogBytes)) {
      keeper_.tell_log();
    }
    if (stopping_) {
      parts_.takeover().retry_if_due();
    } else {
      parts_.takeover().look_if_due();
    }
    if (parts_.sockets().acceptor().is_held()) {
      parts_.stranded().postpone();
    } else {
      parts_.stranded().look_if_due(parts_.resources().states(), keeper_.totals(), log_);
    }
    keeper_.judge();
    if (is_starting_) settle_start();
    go_on_with_succession();
    finish_if_done();
    return {};
  }

  /// A start is over when VMs can be served, or there are some, whose memory nobody else has. If
  /// there are none, and they could not be served, it has failed.
  void settle_start() {
    const bool has_vms = !keeper_.vms().empty() || !parts_.takeover().vms().empty();
    if (keeper_.serves() || has_vms) {
      is_starting_ = false;
      if (!stopping_) manager_.notify_ready();
      return;
    }
    if (!keeper_.failure() || parts_.sockets().acceptor().has_peers()) return;
    result_ = fail(ErrorKind::kFailed, "no VM can be served: {}", *keeper_.failure());
    finished_ = true;
  }

  /// Its serving process serves until all that it serves is open here; until then VMs that connect
  /// wait. When that fails, this process ends, and the serving process goes on in its place.
  void go_on_with_predecessor() {
    const Status settled = parts_.settle_predecessor();
    if (!settled) {
      if (stopping_) parts_.predecessor().pass_on_stop();
      exit_with(settled);
    }
    if (parts_.has_predecessor() || !std::exchange(succession_wanted_, false)) return;
    succession_.begin(parts_.handover_state(stopping_));
  }

  void end() {
    limiter_.write_counts(Clock::now() + LogLimiter::kPeriod);
    parts_.predecessor().end_serving_process();
    keeper_.end();
    parts_.admission().close();
    parts_.sockets().close();
    // What called is not this process but that whose place it has; or threads read still, which use
    // what a return would destroy.
    if (replaces_supervisor_ || openings_.are_running()) exit_with(result_);
  }

  [[noreturn]] void exit_with(const Status& result) const {
    if (!result) log_(one_line(result.error()));
    ::_exit(result ? 0 : 1);
  }

  [[nodiscard]] int wait_ms() {
    int wait_ms = parts_.sockets().expire();
    if (!parts_.has_predecessor()) wait_ms = sooner(wait_ms, keeper_.due_ms());
    for (const int due_ms : {openings_.expire(), parts_.takeover().due_ms(),
                             parts_.predecessor().due_ms(), parts_.stranded().due_ms(),
                             manager_.feed_watchdog(), limiter_.due_ms(), succession_.due_ms()}) {
      wait_ms = sooner(wait_ms, due_ms);
    }
    return wait_ms;
  }

  Status wait_and_handle() {
    const int longest_ms = wait_ms();
    std::array<pollfd, 11> waiting = {pollfd{signals_.fd(), POLLIN, 0},
                                      pollfd{keeper_.message_fd(), POLLIN, 0},
                                      pollfd{parts_.sockets().acceptor().fd(), POLLIN, 0},
                                      pollfd{parts_.sockets().metrics_fd(), POLLIN, 0},
                                      pollfd{parts_.sockets().metrics_clients_fd(), POLLIN, 0},
                                      pollfd{parts_.sockets().control_fd(), POLLIN, 0},
                                      pollfd{succession_.fd(), POLLIN, 0},
                                      pollfd{keeper_.ended_fd(), POLLIN, 0},
                                      pollfd{openings_.fd(), POLLIN, 0},
                                      pollfd{parts_.predecessor().ended_fd(), POLLIN, 0},
                                      pollfd{parts_.predecessor().message_fd(), POLLIN, 0}};
    LAMINA_RETURN_IF_ERROR(os::wait_for_events(waiting, longest_ms));
    if (waiting[5].revents != 0) parts_.sockets().greet(keeper_.failure());
    if (waiting[1].revents != 0) keeper_.handle_message();
    if (waiting[10].revents != 0) parts_.predecessor().handle_message();
    if (waiting[2].revents != 0) parts_.sockets().acceptor().handle();
    if (waiting[8].revents != 0) openings_.handle();
    if (waiting[3].revents != 0 || waiting[4].revents != 0) {
      parts_.sockets().answer_metrics([this] {
        return format_metrics(keeper_.totals_now(), figures_of(keeper_.vms()), supervisor_);
      });
    }
    if (waiting[7].revents != 0) keeper_.handle_end();
    if (waiting[0].revents != 0) signals_.read([this](int signal) { handle_signal(signal); });
    return {};
  }

  void finish_if_done() {
    const bool is_over = stopping_ || (options_.once && keeper_.had_vms());
    const bool is_idle =
        keeper_.vms().empty() && parts_.takeover().vms().empty() && !parts_.has_predecessor();
    // Peers without VMs end with a server that has served its one VM.
    const bool has_peers = stopping_ && parts_.sockets().acceptor().has_peers();
    if (is_over && is_idle && !has_peers) finished_ = true;
  }

  void handle_signal(int signal) {
    if (signal != SIGHUP) return stop();
    reopen_log();
    if (succession_.has_program()) {
      succession_wanted_ = true;
      return go_on_with_predecessor();
    }
    log_("SIGHUP changes nothing else: there is no command to go on with");
  }

  void reopen_log() {
    const Status opened = parts_.resources().log_file().reopen();
    if (opened) return keeper_.tell_log();
    log_(fmt::format("the log goes on where it is: {}", one_line(opened.error())));
  }

  /// Peers whose handshake is on its way are waited for, since they send it once; others wait at
  /// the sockets. And the serving process, which would go on if the new program did not.
  void go_on_with_succession() {
    if (succession_.take_outcome()) parts_.sockets().acceptor().hold(true);
    const bool is_safe = !keeper_.is_replacing() && (keeper_.worker() > 0 || keeper_.vms().empty());
    if (!succession_.is_decided() || !is_safe || parts_.sockets().acceptor().has_peers()) return;
    HandoverState handover = parts_.handover_state(stopping_);
    handover.worker = keeper_.worker();
    handover.worker_control = keeper_.message_fd();
    succession_.execute(handover, manager_);
    parts_.sockets().acceptor().hold(false);
  }

  void stop() {
    const std::size_t left = parts_.inherited_count();
    const std::size_t count = keeper_.vms().size() + parts_.takeover().vms().size() + left;
    if (stopping_) {
      if (count > 0) {
        result_ =
            fail(ErrorKind::kFailed,
                 "stopped while {} VMs need a page server; the next start takes them over", count);
      }
      finished_ = true;
      return;
    }
    stopping_ = true;
    manager_.notify("STOPPING=1");
    // A peer that has connected already cannot connect anywhere else: it is let in, and served.
    parts_.sockets().acceptor().stop_listening();
    // Told before it is said: a reader of the line may count on it, even if this process is killed
    // now.
    keeper_.detach();
    if (keeper_.vms().empty() && left == 0) return;
    log_(fmt::format(
        "stopping: the memory of {} VMs is filled first, so that they need no server; a "
        "second signal stops at once",
        keeper_.vms().size() + left));
  }

  const ServeOptions& options_;
  LogLimiter limiter_;
  const Log log_ = [this](const std::string& line) { limiter_.say(line); };
  pid_t supervisor_ = -1;    ///< asked before any fork: a child's parent may be gone
  os::Fd supervisor_pidfd_;  ///< the same: what it has told a child counts when it is gone
  os::ServiceManager manager_ = os::ServiceManager::from_environment();
  SupervisorSignals signals_;
  Succession succession_;
  ServerParts parts_;
  VmKeeper& keeper_ = parts_.keeper();
  Openings& openings_ = parts_.openings();
  std::vector<std::unique_ptr<Vm>> unopened_;  ///< in a child, between its two lives
  bool replaces_supervisor_ = false;           ///< of a supervisor that was killed
  bool succession_wanted_ = false;             ///< by SIGHUP, which came before it could begin
  bool stopping_ = false;
  bool is_starting_ = false;  ///< not from a predecessor, and nobody was told that it serves
  bool finished_ = false;
  Status result_;
};

}  // namespace

Status serve(const ServeOptions& options) {
  return contain("page server", [&] { return Supervisor(options).run(); });
}

}  // namespace lamina
