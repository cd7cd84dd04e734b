#include "daemon/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/mutex.h"
#include "daemon/api.h"
#include "daemon/listener.h"
#include "daemon/messages.h"
#include "daemon/pusher.h"
#include "daemon/signals.h"
#include "daemon/store_link.h"
#include "http/server_thread.h"
#include "lamina/inspect.h"
#include "lamina/serve.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/notify.h"
#include "os/owner.h"
#include "os/path_walk.h"
#include "os/poll.h"

namespace lamina::daemon {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kListeners = 2;
constexpr std::size_t kMaxConnections = 1024;
constexpr std::size_t kMaxConnectionsOfOneUser = 768;
constexpr std::size_t kMaxMetricsConnections = 64;
/// Requests of one queue that wait for a worker.
constexpr std::size_t kMaxWaiting = 256;

/// The number of a queue of the HTTP server.
std::size_t queue_number(Queue queue) { return queue == Queue::kReads ? 0 : 1; }

std::string lock_path(const std::string& store) {
  return os::parent_of(page_server_socket(store)) + "/laminad.lock";
}

/// Takes the lock that keeps a second daemon from the store: .vms/laminad.lock. The lock ends with
/// the process.
Result<os::Fd> lock_store(const std::string& store) {
  const std::string path = lock_path(store);
  const std::string area_path = os::parent_of(path);
  const std::string area_name = area_path.substr(area_path.rfind('/') + 1);
  auto opened = os::open_directory(AT_FDCWD, store, store);
  if (!opened) return os::explain_directory_failure("store", store, std::move(opened.error()));
  const os::Fd directory = std::move(*opened);
  LAMINA_RETURN_IF_ERROR(os::check_store_owner(directory.get(), store));
  if (!os::name_exists(directory.get(), area_name) && inspect(store)) {
    return with_remedy(fail(ErrorKind::kUsage, "'{}' is a snapshot, not a store", store),
                       "name the directory that holds it");
  }
  LAMINA_RETURN_IF_ERROR(os::make_directory(directory.get(), area_name, area_path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area,
                          os::open_directory(directory.get(), area_name, area_path));
  LAMINA_RETURN_IF_ERROR(os::check_owner(area.get(), area_path));
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile file,
                          os::open_regular(area.get(), "laminad.lock", O_RDWR | O_CREAT, path));
  LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(file.fd.get(), path));
  if (locked) return std::move(file.fd);
  return with_remedy(fail(ErrorKind::kBusy, "store '{}' has a daemon already, {}", store,
                          os::lock_holder(file.fd.get())),
                     "use that one, or stop it first");
}

std::vector<std::string> page_server_command(const Settings& settings) {
  std::vector<std::string> command = {settings.lamina, "serve", "--store", settings.store};
  return command;
}

/// Settings that a reload changes while threads read them.
class SharedSettings {
 public:
  explicit SharedSettings(Settings settings) : settings_(std::move(settings)) {}

  [[nodiscard]] Settings get() const {
    const MutexLock lock(mutex_);
    return settings_;
  }

  /// Takes the settings of `from` that may change while the daemon runs.
  void reload(const Settings& from) {
    const MutexLock lock(mutex_);
    settings_.policy = from.policy;
    settings_.rate = from.rate;
    settings_.recover_interval = from.recover_interval;
    settings_.stop_timeout = from.stop_timeout;
    settings_.allow_uid = from.allow_uid;
    settings_.no_hooks = from.no_hooks;
  }

 private:
  mutable Mutex mutex_;
  Settings settings_ LAMINA_GUARDED_BY(mutex_);
};

std::uint64_t now_ms() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}

class Daemon {
 public:
  /// `read`: the settings as they were read; `settings`: with absolute paths. `lock`: the locked
  /// file; it also keeps the number of the next event.
  Daemon(const GivenOptions& given, Settings read, const Settings& settings, int lock)
      : given_(given),
        read_(std::move(read)),
        settings_(settings),
        manager_(os::ServiceManager::from_environment()),
        events_(settings.events, EventNumbers(lock, lock_path(settings.store), now_ms())),
        status_(settings.store),
        merger_(
            settings.store,
            [this] {
              const Settings now = settings_.get();
              return MergeSettings{now.policy, now.rate};
            },
            metrics_, events_),
        pusher_(settings.store, settings.push, metrics_, events_),
        recoverer_(
            settings.store, page_server_command(settings),
            [this] { return settings_.get().recover_interval; }, metrics_, events_, merger_,
            pusher_),
        api_({settings.store, page_server_command(settings), settings.freeze_memory,
              settings.freeze_directory, [this] { return !settings_.get().no_hooks; },
              [this] { return settings_.get().policy; },
              [this] { return std::pair(server_->connections(), server_->unanswered()); }, metrics_,
              events_, status_, merger_, recoverer_, pusher_}) {}

  Status run() {
    const Settings settings = settings_.get();
    LAMINA_ASSIGN_OR_RETURN(server_, http::ServerThread::start(server_options(settings)));
    LAMINA_RETURN_IF_ERROR(open_listeners(settings));
    link_ = StoreLink::make(settings.store, settings.listen);
    log(Level::kInfo, "ready", {{"store", settings.store}, {"listen", settings.listen}});
    manager_.notify_ready();
    while (!Signals::stop_requested()) {
      wait_and_serve();
      if (Signals::take_hangup()) reload();
    }
    return stop();
  }

 private:
  http::ServerThread::Options server_options(const Settings& settings) {
    constexpr std::size_t kReadWorkers = 4;
    http::ServerThread::Options options;
    options.server.listeners.resize(kListeners);
    options.server.listeners[kApiListener] = {kMaxConnections, kMaxConnectionsOfOneUser};
    options.server.listeners[kMetricsListener] = {kMaxMetricsConnections, kMaxMetricsConnections};
    options.server.request_timeout = settings.request_timeout;
    options.server.error_response = refusal;
    options.server.stopping_response = stopping;
    options.server.count_response = [this](unsigned status) { metrics_.count_request(status); };
    options.queues.resize(2);
    options.queues[queue_number(Queue::kReads)] = {kReadWorkers, kReadWorkers, kMaxWaiting};
    options.queues[queue_number(Queue::kOperations)] = {settings.workers, kMaxConnections,
                                                        kMaxWaiting};
    options.queue_of = [](const Request& request) -> std::optional<std::size_t> {
      const Queue queue = Api::queue_of(request);
      if (queue == Queue::kNone) return std::nullopt;
      return queue_number(queue);
    };
    options.handle = [this](const Request& request) { return api_.handle(request); };
    return options;
  }

  Status open_listeners(const Settings& settings) {
    auto api = Listener::open(settings.listen, settings.listen_mode, kApiListener);
    if (!api) return std::unexpected(api.error());
    listeners_.push_back(std::move(*api));
    if (settings.metrics.empty()) return {};
    auto metrics = Listener::open(settings.metrics, settings.metrics_mode, kMetricsListener);
    if (!metrics) return std::unexpected(metrics.error());
    listeners_.push_back(std::move(*metrics));
    return {};
  }

  /// Waits for connections or a signal, at most a second.
  void wait_and_serve() {
    constexpr int kLongestWaitMs = 1000;
    const int watchdog_ms = manager_.feed_watchdog();
    int wait_ms = watchdog_ms < 0 ? kLongestWaitMs : std::min(watchdog_ms, kLongestWaitMs);
    std::vector<pollfd> waiting = {{Signals::fd(), POLLIN, 0}};
    for (Listener& one : listeners_) {
      const int back_off_ms = one.expire();
      if (back_off_ms > 0) wait_ms = std::min(wait_ms, back_off_ms);
      waiting.push_back({one.polled_fd(), POLLIN, 0});
    }
    // If it fails, it is tried again.
    if (os::wait_for_events(waiting, wait_ms).value_or(false)) {
      if (waiting.front().revents != 0) Signals::clear();
      const std::vector<std::uint32_t> users = settings_.get().allow_uid;
      for (std::size_t i = 0; i < listeners_.size(); ++i) {
        if (waiting[i + 1].revents != 0) listeners_[i].accept(*server_, users);
      }
    }
  }

  void reload() {
    const auto settings = settings_of(given_);
    if (!settings) return log(Level::kError, "reload", error_fields(settings.error()));
    settings_.reload(*settings);
    const std::vector<std::string> unchanged = changes_that_need_a_restart(read_, *settings);
    Json fields = {{"policy", settings->policy}};
    if (!unchanged.empty()) fields["needs_restart"] = unchanged;
    log(unchanged.empty() ? Level::kInfo : Level::kWarning, "reload", fields);
  }

  /// Removes the link and the sockets. Pending connections are accepted, so that their requests get
  /// the response of a stopping daemon.
  void close_listeners() {
    link_.reset();
    server_->stop_requests();
    const std::vector<std::uint32_t> users = settings_.get().allow_uid;
    for (Listener& one : listeners_) {
      one.close();
      while (one.accept(*server_, users)) continue;
    }
    listeners_.clear();
  }

  /// Refuses new requests, and waits for the running ones, at most for stop_timeout. Those that
  /// have not ended by then are left as a crash would leave them, for the next recovery.
  Status stop() {
    log(Level::kInfo, "stopping", {{"requests", server_->unanswered()}});
    manager_.notify("STOPPING=1");
    close_listeners();
    merger_.stop();
    pusher_.stop();
    recoverer_.stop();
    status_.stop();
    const auto deadline = Clock::now() + settings_.get().stop_timeout;
    // Also how often the watchdog is notified.
    constexpr std::chrono::milliseconds kCheckInterval{200};
    // A recovery may wait for a VM that does not answer. It can be abandoned at any point.
    constexpr int kPauseMs = 10;
    while (true) {
      const bool ended = server_->wait_until_closed(kCheckInterval);
      if (ended && recoverer_.has_ended() && status_.has_ended()) break;
      if (ended) ::poll(nullptr, 0, kPauseMs);
      manager_.feed_watchdog();
      if (Clock::now() < deadline) continue;
      if (server_->unanswered() == 0 && recoverer_.has_ended() && status_.has_ended()) break;
      log(Level::kError, "stopped", {{"abandoned_requests", server_->unanswered()}});
      ::_exit(schema::kExitFailed);
    }
    end_pushes();
    server_.reset();
    return {};
  }

  /// Waits a short time for interrupted pushes. One that waits for its bucket is left as a crash
  /// would leave it: the next daemon pushes again.
  void end_pushes() {
    constexpr std::chrono::seconds kLongest{5};
    constexpr int kPauseMs = 10;
    const auto deadline = Clock::now() + kLongest;
    while (!pusher_.has_ended()) {
      if (Clock::now() >= deadline) {
        log(Level::kWarning, "stopped", {{"abandoned_pushes", pusher_.queued()}});
        ::_exit(schema::kExitDone);
      }
      manager_.feed_watchdog();
      ::poll(nullptr, 0, kPauseMs);
    }
  }

  const GivenOptions& given_;
  const Settings read_;
  SharedSettings settings_;
  os::ServiceManager manager_;
  Metrics metrics_;
  Events events_;
  StoreStatus status_;
  Merger merger_;
  Pusher pusher_;
  Recoverer recoverer_;
  Api api_;
  std::unique_ptr<http::ServerThread> server_;
  std::vector<Listener> listeners_;
  std::unique_ptr<StoreLink> link_;
};

/// Makes a path of the command line independent of the working directory.
Status make_absolute(std::string& path) {
  if (path.empty()) return {};
  std::error_code error;
  path = std::filesystem::absolute(path, error).string();
  if (error) return fail(ErrorKind::kFailed, "the working directory: {}", error.message());
  return {};
}

/// Changes to /, so that the daemon does not keep a mount busy.
Status leave_working_directory(GivenOptions& given, Settings& settings) {
  auto store = os::real_path(settings.store);
  if (!store) {
    return os::explain_directory_failure("store", settings.store, std::move(store.error()));
  }
  settings.store = std::move(*store);
  for (std::string* path :
       {&given.config, &settings.listen, &settings.metrics, &settings.push.key_file}) {
    LAMINA_RETURN_IF_ERROR(make_absolute(*path));
  }
  // A name without a slash is searched for in $PATH.
  if (settings.lamina.find('/') != std::string::npos) {
    LAMINA_RETURN_IF_ERROR(make_absolute(settings.lamina));
  }
  if (::chdir("/") != 0) return system_failure("chdir", "/", errno);
  return {};
}

}  // namespace

Status run(GivenOptions given) {
  LAMINA_ASSIGN_OR_RETURN(const Settings read, settings_of(given));
  Settings settings = read;
  LAMINA_RETURN_IF_ERROR(leave_working_directory(given, settings));
  LAMINA_RETURN_IF_ERROR(Pusher::check(settings.store, settings.push));
  LAMINA_RETURN_IF_ERROR(Signals::handle());
  LAMINA_ASSIGN_OR_RETURN(const os::Fd lock, lock_store(settings.store));
  const Status done = Daemon(given, read, settings, lock.get()).run();
  if (done) log(Level::kInfo, "stopped");
  return done;
}

}  // namespace lamina::daemon
