#include "lamina/page_server.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "base/mutex.h"
#include "os/directory.h"
#include "os/event.h"
#include "os/process.h"
#include "os/thread.h"
#include "server/acceptor.h"
#include "server/control_socket.h"
#include "server/endpoint.h"
#include "server/log_limiter.h"
#include "server/metrics.h"
#include "server/metrics_socket.h"
#include "server/served_vms.h"
#include "server/snapshots.h"
#include "server/state_directory.h"
#include "server/store_lock.h"
#include "server/store_place.h"
#include "server/stranded.h"
#include "server/takeover.h"

namespace lamina {

using namespace server;  // NOLINT(google-build-using-namespace): this file is its entrance
using Clock = std::chrono::steady_clock;

/// A round that has failed is done again after so long.
constexpr int kAgainMs = 100;

/// One thread accepts and ends VMs; the serving threads are below it.
class PageServer::Implementation {
 public:
  explicit Implementation(const ServeOptions& options)
      : options_(options), snapshots_(options.populate, options.record) {}
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;
  Implementation(Implementation&&) = delete;
  Implementation& operator=(Implementation&&) = delete;

  ~Implementation() {
    request(Request::kStop);
    if (thread_.joinable()) thread_.join();
  }

  Status start() {
    LAMINA_RETURN_IF_ERROR(check_serve_options(options_));
    LAMINA_ASSIGN_OR_RETURN(StateDirectory states,
                            StateDirectory::open(options_.state_directory, options_.store));
    states_ = std::make_unique<StateDirectory>(std::move(states));
    LAMINA_ASSIGN_OR_RETURN(std::vector<Endpoint> endpoints, open_endpoints());
    LAMINA_ASSIGN_OR_RETURN(wake_, os::Event::create("page server"));
    LAMINA_ASSIGN_OR_RETURN(Acceptor acceptor, Acceptor::create(*states_, std::move(endpoints),
                                                                access_rules_of(options_), {}));
    acceptor_ = std::make_unique<Acceptor>(std::move(acceptor));
    if (!options_.store.empty()) {
      auto control =
          ControlSocket::create(control_socket_of(store_->path()), os::Fd(), at_path_of(options_));
      if (!control) {
        acceptor_->close();
        return std::unexpected(control.error());
      }
      control_ = std::make_unique<ControlSocket>(std::move(*control));
      auto metrics =
          MetricsSocket::create(metrics_socket_of(options_), os::Fd(), at_path_of(options_));
      if (!metrics) {
        acceptor_->close();
        return std::unexpected(metrics.error());
      }
      metrics_ = std::make_unique<MetricsSocket>(std::move(*metrics));
    }
    LAMINA_RETURN_IF_ERROR(take_over_abandoned(*states_, snapshots_, vms_, totals_, log_));
    LAMINA_ASSIGN_OR_RETURN(served_,
                            ServedVms::start(vms_, default_threads(options_.threads), log_));
    look_again_until_ = Clock::now() + kLookingAgain;
    LAMINA_ASSIGN_OR_RETURN(thread_, os::start_thread("page server", [this] { run(); }));
    return {};
  }

  void detach() {
    request(Request::kDetach);
    if (thread_.joinable()) thread_.join();
  }

  [[nodiscard]] std::string metrics() const {
    const MutexLock lock(mutex_);
    return format_metrics(sum_of(totals_, vms_));
  }

 private:
  Result<std::vector<Endpoint>> open_endpoints() {
    std::vector<Endpoint> endpoints;
    if (!options_.store.empty()) {
      LAMINA_ASSIGN_OR_RETURN(store_lock_, lock_store(options_.store));
      LAMINA_ASSIGN_OR_RETURN(StorePlace store, StorePlace::open(options_.store));
      store_.emplace(std::move(store));
      snapshots_.set_store(*store_);
      stranded_.set_store(*store_);
      endpoints.push_back(
          endpoint_of_store(page_server_socket(store_->path()), *store_, snapshots_, log_));
    }
    std::vector<std::string> notes;
    for (const ServeEndpoint& endpoint : options_.endpoints) {
      LAMINA_ASSIGN_OR_RETURN(Service service, snapshots_.open(endpoint.snapshot, notes));
      endpoints.push_back(endpoint_of(endpoint.socket, std::move(service)));
    }
    for (const std::string& note : notes) log(note);
    return endpoints;
  }

  enum class Request : std::uint8_t { kNone, kDetach, kStop };

  void log(const std::string& line) { limiter_.say(line); }

  void request(Request request) {
    request_ = request;
    wake_.signal();
  }

  void run() {
    bool detaching = false;
    const auto take = [this](std::unique_ptr<Vm> vm) { admit(std::move(vm)); };
    const auto refuse = [this](const std::string& reason) {
      {
        const MutexLock lock(mutex_);
        ++totals_.peers_refused;
      }
      log(reason);
    };
    bool failed = false;
    while (request_ != Request::kStop) {
      const auto over = contain("page server", [&]() -> Result<bool> {
        return do_round(failed, detaching, take, refuse);
      });
      if (over.value_or(false)) break;
      // For want of memory: a little later it may be had.
      failed = !over;
    }
    acceptor_->close();
    static_cast<void>(contain("close", [&]() -> Status {
      if (control_) control_->remove(control_socket_of(store_->path()));
      if (metrics_) metrics_->remove(page_server_metrics_socket(store_->path()));
      return {};
    }));
  }

  /// True when nobody needs this server any more.
  bool do_round(bool again, bool& detaching, const std::function<void(std::unique_ptr<Vm>)>& take,
                const std::function<void(const std::string&)>& refuse) {
    std::array<pollfd, 6> waiting = {pollfd{wake_.fd(), POLLIN, 0},
                                     pollfd{acceptor_->fd(), POLLIN, 0},
                                     pollfd{served_->fd(), POLLIN, 0},
                                     pollfd{metrics_ ? metrics_->fd() : -1, POLLIN, 0},
                                     pollfd{metrics_ ? metrics_->clients_fd() : -1, POLLIN, 0},
                                     pollfd{control_ ? control_->fd() : -1, POLLIN, 0}};
    if (again) static_cast<void>(::poll(waiting.data(), 1, kAgainMs));
    const int due_ms = again ? 0 : next_due(refuse);
    static_cast<void>(::poll(waiting.data(), waiting.size(), due_ms));
    // Before the request is looked at: one that comes later wakes the next round.
    wake_.clear();
    limiter_.write_counts();
    if (waiting[5].revents != 0) control_->handle();
    if (waiting[1].revents != 0) acceptor_->handle(take, refuse);
    if (waiting[2].revents != 0 || again) end_vms();
    if (waiting[3].revents != 0 || waiting[4].revents != 0) {
      metrics_->handle([this] { return metrics(); });
    }
    if (!detaching && Clock::now() < look_again_until_) look_again();
    look_for_stranded();
    if (request_ != Request::kDetach) return false;
    if (!std::exchange(detaching, true)) {
      acceptor_->stop_listening(take, refuse);
      served_->detach_all();
    }
    return vms_.empty() && !acceptor_->has_peers();
  }

  int next_due(const std::function<void(const std::string&)>& refuse) {
    const int silent_ms = acceptor_->expire(refuse);
    const int recording_ms = served_->save_due_recordings();
    const int look_ms = Clock::now() < look_again_until_ ? kLookMs : -1;
    const int metrics_ms = metrics_ ? metrics_->expire() : -1;
    return sooner(sooner(sooner(look_ms, stranded_.due_ms()), limiter_.due_ms()),
                  sooner(sooner(silent_ms, recording_ms), metrics_ms));
  }

  /// A server that was killed a moment ago may have held its VMs for a moment longer.
  void look_again() {
    std::vector<std::string> lines;
    const Log collect = [&lines](const std::string& line) { lines.push_back(line); };
    {
      const MutexLock lock(mutex_);
      Vms found;
      const auto some_wait = take_over_abandoned(*states_, snapshots_, found, totals_, collect);
      if (!some_wait) lines.push_back(some_wait.error().message);
      if (!some_wait || *some_wait) look_again_until_ = Clock::now() + kLookingAgain;
      for (auto& [id, vm] : found) serve(std::move(vm), collect);
    }
    for (const std::string& line : lines) log(line);
  }

  void look_for_stranded() {
    std::vector<std::string> lines;
    {
      const MutexLock lock(mutex_);
      stranded_.look_if_due(*states_, totals_,
                            [&lines](const std::string& line) { lines.push_back(line); });
    }
    for (const std::string& line : lines) log(line);
  }

  void admit(std::unique_ptr<Vm> vm) {
    std::vector<std::string> lines;
    {
      const MutexLock lock(mutex_);
      vm->id = ++totals_.sessions_started;
      serve(std::move(vm), [&lines](const std::string& line) { lines.push_back(line); });
    }
    for (const std::string& line : lines) log(line);
  }

  /// A VM that cannot be served is killed.
  void serve(std::unique_ptr<Vm> vm, const Log& say)
      LAMINA_THREAD_ANNOTATION(requires_capability(mutex_)) {
    const Status added = served_->add(vm);
    if (added) return;
    static_cast<void>(os::kill_process(vm->pidfd.get()));
    states_->remove(vm->directory);
    ++totals_.vms_killed;
    say(fmt::format("process {} was killed, it could not be served: {}", vm->state.record().pid,
                    added.error().message));
  }

  void end_vms() {
    std::vector<std::string> lines;
    const Log collect = [&lines](const std::string& line) { lines.push_back(line); };
    {
      const MutexLock lock(mutex_);
      served_->handle_ended([&](const Ended& ended, const Vm& vm)
                                LAMINA_THREAD_ANNOTATION(no_thread_safety_analysis) {
                                  count_ended(ended, vm, totals_, collect);
                                  states_->remove(vm.directory);
                                });
    }
    for (const std::string& line : lines) log(line);
  }

  const ServeOptions options_;
  LogLimiter limiter_{options_.log};
  const Log log_ = [this](const std::string& line) { limiter_.say(line); };
  os::Fd store_lock_;
  std::optional<StorePlace> store_;
  Snapshots snapshots_;
  std::unique_ptr<StateDirectory> states_;
  StrandedVms stranded_;
  std::unique_ptr<Acceptor> acceptor_;
  std::unique_ptr<ControlSocket> control_;
  std::unique_ptr<MetricsSocket> metrics_;
  os::Event wake_;
  std::atomic<Request> request_ = Request::kNone;
  mutable Mutex mutex_;  ///< vms_ and totals_ are changed by the thread and read by metrics()
  Totals totals_;
  Vms vms_;
  std::unique_ptr<ServedVms> served_;
  Clock::time_point look_again_until_;
  std::thread thread_;
};

Result<std::unique_ptr<PageServer>> PageServer::start(const ServeOptions& options) {
  return contain("page server", [&]() -> Result<std::unique_ptr<PageServer>> {
    auto implementation = std::make_unique<Implementation>(options);
    LAMINA_RETURN_IF_ERROR(implementation->start());
    return std::unique_ptr<PageServer>(new PageServer(std::move(implementation)));
  });
}

PageServer::PageServer(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}

PageServer::~PageServer() = default;

void PageServer::detach() { implementation_->detach(); }

std::string PageServer::metrics() const { return implementation_->metrics(); }

}  // namespace lamina
