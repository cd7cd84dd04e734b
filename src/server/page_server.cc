#include "lamina/page_server.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "base/mutex.h"
#include "os/directory.h"
#include "os/event.h"
#include "os/lock.h"
#include "os/poll.h"
#include "os/process.h"
#include "os/thread.h"
#include "server/admission.h"
#include "server/endpoint.h"
#include "server/log_limiter.h"
#include "server/metrics.h"
#include "server/named_snapshots.h"
#include "server/openings.h"
#include "server/served_vms.h"
#include "server/snapshots.h"
#include "server/sockets.h"
#include "server/state_directory.h"
#include "server/store_lock.h"
#include "server/store_place.h"
#include "server/stranded.h"
#include "server/takeover.h"
#include "server/wait_time.h"

namespace lamina {

using namespace server;  // NOLINT(google-build-using-namespace): this file is its entrance

/// Its threads use fewer, besides those of layers and VMs.
constexpr std::uint64_t kLeastDescriptors = 32;

/// A round that has failed is done again after so long.
constexpr int kAgainMs = 100;

/// One thread accepts and ends VMs; the serving threads are below it.
class PageServer::Implementation {
 public:
  explicit Implementation(const ServeOptions& options)
      : options_(options),
        snapshots_(options.populate, options.record),
        openings_(snapshots_, log_) {}
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
    LAMINA_RETURN_IF_ERROR(os::check_open_file_limit(kLeastDescriptors, "a page server"));
    LAMINA_ASSIGN_OR_RETURN(StateDirectory states,
                            StateDirectory::open(options_.state_dir, options_.store));
    states_ = std::make_unique<StateDirectory>(std::move(states));
    LAMINA_RETURN_IF_ERROR(openings_.start());
    LAMINA_ASSIGN_OR_RETURN(std::vector<Endpoint> endpoints, open_endpoints());
    LAMINA_ASSIGN_OR_RETURN(wake_, os::Event::create("page server"));
    const auto serve = [this](std::unique_ptr<Vm> vm) { admit(std::move(vm)); };
    admission_ =
        std::make_unique<Admission>(*states_, openings_, serve, [this](const std::string& reason) {
          count(&Totals::peers_refused);
          log(reason);
        });
    takeover_ = std::make_unique<Takeover>(
        *states_, snapshots_, openings_,
        Takeover::Callbacks{serve, [this](const Vm& vm) { count_unserved(vm); },
                            [this] { count(&Totals::vms_killed); },
                            [this] { count(&Totals::vms_reacquired); }, log_});
    sockets_ = std::make_unique<Sockets>(options_, store_ ? &*store_ : nullptr);
    LAMINA_ASSIGN_OR_RETURN(served_,
                            ServedVms::start(vms_, default_threads(options_.threads), log_));
    LAMINA_RETURN_IF_ERROR(sockets_->bind(*states_, std::move(endpoints), *admission_));
    takeover_->begin();
    LAMINA_ASSIGN_OR_RETURN(thread_, os::start_thread("page server", [this] { run(); }));
    return {};
  }

  void detach() {
    request(Request::kDetach);
    if (thread_.joinable()) thread_.join();
  }

  [[nodiscard]] std::string metrics() const {
    const MutexLock lock(mutex_);
    return format_metrics(sum_of(totals_, vms_), figures_of(vms_), std::nullopt);
  }

 private:
  Result<std::vector<Endpoint>> open_endpoints() {
    std::vector<Endpoint> endpoints;
    if (!options_.store.empty()) {
      LAMINA_ASSIGN_OR_RETURN(os::Fd lock, lock_store(options_.store));
      store_lock_ = os::LockedFd(std::move(lock));
      LAMINA_ASSIGN_OR_RETURN(StorePlace store, StorePlace::open(options_.store));
      store_.emplace(std::move(store));
      snapshots_.set_store(*store_);
      stranded_.set_store(*store_);
      endpoints.push_back(
          endpoint_of_store(page_server_socket(store_->path()), *store_, snapshots_));
    }
    LAMINA_ASSIGN_OR_RETURN(std::vector<Service> services,
                            open_named_snapshots(options_.endpoints, snapshots_, openings_));
    for (std::size_t i = 0; i < services.size(); ++i) {
      endpoints.push_back(endpoint_of(options_.endpoints[i].socket, std::move(services[i])));
    }
    return endpoints;
  }

  enum class Request : std::uint8_t { kNone, kDetach, kStop };

  void log(const std::string& line) { limiter_.say(line); }

  void request(Request request) {
    request_ = request;
    wake_.signal();
  }

  void count(std::uint64_t Totals::* counter) {
    const MutexLock lock(mutex_);
    ++(totals_.*counter);
  }

  /// A VM of an earlier server that has ended before it was served here.
  void count_unserved(const Vm& vm) {
    const MutexLock lock(mutex_);
    ++totals_.sessions_started;
    count_ended({}, vm, totals_, {});
    states_->remove(vm.directory);
  }

  void run() {
    bool detaching = false;
    bool failed = false;
    while (request_ != Request::kStop) {
      const auto over = contain("page server", [&] { return do_round(failed, detaching); });
      if (over.value_or(false)) break;
      // For want of memory, usually: a little later it may be had.
      failed = !over;
    }
    static_cast<void>(contain("close", [&]() -> Status {
      admission_->close();
      return {};
    }));
    sockets_->close();
  }

  /// True when no VM needs this server any more.
  Result<bool> do_round(bool again, bool& detaching) {
    std::array<pollfd, 7> waiting = {pollfd{wake_.fd(), POLLIN, 0},
                                     pollfd{sockets_->acceptor().fd(), POLLIN, 0},
                                     pollfd{served_->fd(), POLLIN, 0},
                                     pollfd{sockets_->metrics_fd(), POLLIN, 0},
                                     pollfd{sockets_->metrics_clients_fd(), POLLIN, 0},
                                     pollfd{sockets_->control_fd(), POLLIN, 0},
                                     pollfd{openings_.fd(), POLLIN, 0}};
    if (again) static_cast<void>(os::wait_for_events(std::span(waiting).first(1), kAgainMs));
    const int due_ms = again ? 0 : next_due();
    LAMINA_RETURN_IF_ERROR(os::wait_for_events(waiting, due_ms));
    // Before the request is looked at: one that comes later wakes the next round.
    wake_.clear();
    limiter_.write_counts();
    if (waiting[5].revents != 0) sockets_->greet();
    if (waiting[1].revents != 0) sockets_->acceptor().handle();
    if (waiting[6].revents != 0) openings_.handle();
    if (waiting[2].revents != 0 || again) end_vms();
    if (waiting[3].revents != 0 || waiting[4].revents != 0) {
      sockets_->answer_metrics([this] { return metrics(); });
    }
    if (again) takeover_->look_again();
    if (!detaching) takeover_->look_if_due();
    look_for_stranded();
    if (request_ != Request::kDetach) return false;
    if (!std::exchange(detaching, true)) {
      sockets_->acceptor().stop_listening();
      served_->detach_all();
    }
    return vms_.empty() && !takeover_->is_opening() && !sockets_->acceptor().has_peers();
  }

  int next_due() {
    const int own_ms = sooner(sockets_->expire(), served_->save_due_recordings());
    const int opening_ms = sooner(openings_.expire(), takeover_->due_ms());
    return sooner(sooner(own_ms, opening_ms), sooner(stranded_.due_ms(), limiter_.due_ms()));
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
      if (request_ == Request::kDetach) served_->detach_all();
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
                    one_line(added.error())));
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
  os::LockedFd store_lock_;
  std::optional<StorePlace> store_;
  Snapshots snapshots_;
  Openings openings_;
  std::unique_ptr<StateDirectory> states_;
  std::unique_ptr<Admission> admission_;
  std::unique_ptr<Takeover> takeover_;
  std::unique_ptr<Sockets> sockets_;
  StrandedVms stranded_;
  os::Event wake_;
  std::atomic<Request> request_ = Request::kNone;
  mutable Mutex mutex_;  ///< vms_ and totals_ are changed by the thread and read by metrics()
  Totals totals_;
  Vms vms_;
  std::unique_ptr<ServedVms> served_;
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
