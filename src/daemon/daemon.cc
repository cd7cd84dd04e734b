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
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/mutex.h"
#include "daemon/api.h"
#include "daemon/doors.h"
#include "daemon/signals.h"
#include "daemon/store_link.h"
#include "lamina/serve.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/notify.h"
#include "os/owner.h"
#include "os/path_walk.h"

namespace lamina::daemon {
namespace {

using Clock = std::chrono::steady_clock;

std::string lock_path(const std::string& store) {
  return os::parent_of(page_server_socket(store)) + "/laminad.lock";
}

/// One daemon for a store: the lock goes with the process. Beside that of the page server.
Result<os::Fd> lock_store(const std::string& store) {
  const std::string path = lock_path(store);
  const std::string area_path = os::parent_of(path);
  const std::string area_name = area_path.substr(area_path.rfind('/') + 1);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, store, store));
  LAMINA_RETURN_IF_ERROR(os::check_store_owner(directory.get(), store));
  LAMINA_RETURN_IF_ERROR(os::make_directory(directory.get(), area_name, area_path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area,
                          os::open_directory(directory.get(), area_name, area_path));
  LAMINA_RETURN_IF_ERROR(os::check_owner(area.get(), area_path));
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile file,
                          os::open_regular(area.get(), "laminad.lock", O_RDWR | O_CREAT, path));
  LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(file.fd.get(), path));
  if (locked) return std::move(file.fd);
  return fail(ErrorKind::kBusy, "store '{}' has a daemon already; one keeps a store", store);
}

std::vector<std::string> page_server_command(const Settings& settings) {
  std::vector<std::string> command = {settings.lamina, "serve", "--store", settings.store};
  return command;
}

/// Settings that change while threads read them.
class LiveSettings {
 public:
  explicit LiveSettings(Settings settings) : settings_(std::move(settings)) {}

  [[nodiscard]] Settings get() const {
    const MutexLock lock(mutex_);
    return settings_;
  }

  void take_changeable(const Settings& from) {
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
  /// `lock`: the file that is locked, which also keeps the number of the next event.
  Daemon(const GivenOptions& given, const Settings& settings, int lock)
      : given_(given),
        settings_(settings),
        manager_(os::ServiceManager::from_environment()),
        events_(settings.events, EventNumbers(lock, lock_path(settings.store), now_ms())),
        figures_(settings.store),
        merger_(
            settings.store,
            [this] {
              const Settings now = settings_.get();
              return MergeSettings{now.policy, now.rate};
            },
            metrics_, events_),
        recoverer_(
            settings.store, page_server_command(settings),
            [this] { return settings_.get().recover_interval; }, metrics_, events_, merger_),
        api_({settings.store, page_server_command(settings),
              [this] { return !settings_.get().no_hooks; },
              [this] { return settings_.get().policy; },
              [this] { return std::pair(server_->connections(), server_->unanswered()); }, metrics_,
              events_, figures_, merger_, recoverer_}) {}

  Status run() {
    const Settings settings = settings_.get();
    HttpServer::Options options;
    options.long_workers = settings.workers;
    options.patience = settings.request_timeout;
    options.lane = [](const Request& request) { return Api::lane_of(request); };
    options.handle = [this](const Request& request) { return api_.handle(request); };
    options.refusal = refusal;
    options.stopping = stopping;
    options.answered = [this](int status) { metrics_.count_request(status); };
    LAMINA_ASSIGN_OR_RETURN(server_, HttpServer::start(std::move(options)));
    LAMINA_RETURN_IF_ERROR(open_doors(settings));
    link_ = StoreLink::make(settings.store, settings.listen);
    log(Level::kInfo, "ready", {{"store", settings.store}, {"listen", settings.listen}});
    manager_.notify_ready();
    while (!Signals::asked_to_stop()) {
      wait_and_serve();
      if (Signals::take_hangup()) reload();
    }
    return stop();
  }

 private:
  Status open_doors(const Settings& settings) {
    auto api = ListeningSocket::open(settings.listen, settings.listen_mode, Door::kApi);
    if (!api) return std::unexpected(api.error());
    doors_.push_back(std::move(*api));
    if (settings.metrics.empty()) return {};
    auto metrics = ListeningSocket::open(settings.metrics, settings.metrics_mode, Door::kMetrics);
    if (!metrics) return std::unexpected(metrics.error());
    doors_.push_back(std::move(*metrics));
    return {};
  }

  /// Waits for clients or a signal, a second at most.
  void wait_and_serve() {
    constexpr int kLongestWaitMs = 1000;
    std::vector<pollfd> waiting = {{Signals::fd(), POLLIN, 0}};
    for (const ListeningSocket& door : doors_) waiting.push_back({door.fd(), POLLIN, 0});
    const int watchdog_ms = manager_.feed_watchdog();
    const int wait_ms = watchdog_ms < 0 ? kLongestWaitMs : std::min(watchdog_ms, kLongestWaitMs);
    if (::poll(waiting.data(), waiting.size(), wait_ms) > 0) {
      if (waiting.front().revents != 0) Signals::clear();
      const std::vector<std::uint32_t> users = settings_.get().allow_uid;
      for (std::size_t i = 0; i < doors_.size(); ++i) {
        if (waiting[i + 1].revents != 0) doors_[i].accept(*server_, users);
      }
    }
    server_->cut_off_silent_clients();
  }

  void reload() {
    const auto settings = settings_of(given_);
    if (!settings) return log(Level::kError, "reload", error_fields(settings.error()));
    settings_.take_changeable(*settings);
    log(Level::kInfo, "reload", {{"policy", settings->policy}});
  }

  /// Nobody can connect any more; who is connected already is told so, and not left to wonder.
  void close_doors() {
    link_.reset();
    server_->refuse_requests();
    const std::vector<std::uint32_t> users = settings_.get().allow_uid;
    for (ListeningSocket& door : doors_) {
      door.close();
      while (door.accept(*server_, users)) continue;
    }
    doors_.clear();
  }

  /// Takes no more requests, and waits for those that run; for ever is not possible: what does not
  /// end is left as a crash would leave it, for the next recovery.
  Status stop() {
    log(Level::kInfo, "stopping", {{"requests", server_->unanswered()}});
    manager_.notify("STOPPING=1");
    close_doors();
    merger_.stop();
    recoverer_.stop();
    figures_.stop();
    const auto deadline = Clock::now() + settings_.get().stop_timeout;
    constexpr std::chrono::milliseconds kLookEvery{200};
    // A recovery may be waiting for a VM that does not answer. It may be broken off anywhere.
    constexpr int kMomentMs = 10;
    while (true) {
      // Also of connections that were busy before.
      server_->refuse_requests();
      const bool ended = server_->wait_ended(kLookEvery);
      if (ended && recoverer_.has_ended() && figures_.has_ended()) break;
      if (ended) ::poll(nullptr, 0, kMomentMs);
      manager_.feed_watchdog();
      if (Clock::now() < deadline) continue;
      if (server_->unanswered() == 0 && recoverer_.has_ended() && figures_.has_ended()) break;
      log(Level::kError, "stopped", {{"abandoned_requests", server_->unanswered()}});
      ::_exit(schema::kExitFailed);
    }
    server_.reset();
    return {};
  }

  const GivenOptions& given_;
  LiveSettings settings_;
  os::ServiceManager manager_;
  Metrics metrics_;
  Events events_;
  StoreFigures figures_;
  Merger merger_;
  Recoverer recoverer_;
  Api api_;
  std::unique_ptr<HttpServer> server_;
  std::vector<ListeningSocket> doors_;
  std::unique_ptr<StoreLink> link_;
};

/// Paths as the command line gave them; what the daemon says of them is the same from anywhere.
Status make_absolute(std::string& path) {
  if (path.empty()) return {};
  std::error_code error;
  path = std::filesystem::absolute(path, error).string();
  if (error) return fail(ErrorKind::kFailed, "the working directory: {}", error.message());
  return {};
}

/// No mount is kept busy by where the daemon was started.
Status leave_working_directory(GivenOptions& given, Settings& settings) {
  LAMINA_ASSIGN_OR_RETURN(settings.store, os::real_path(settings.store));
  for (std::string* path : {&given.config, &settings.listen, &settings.metrics}) {
    LAMINA_RETURN_IF_ERROR(make_absolute(*path));
  }
  // A plain name is looked for in $PATH.
  if (settings.lamina.find('/') != std::string::npos) {
    LAMINA_RETURN_IF_ERROR(make_absolute(settings.lamina));
  }
  if (::chdir("/") != 0) return system_failure("chdir", "/", errno);
  return {};
}

}  // namespace

Status run(GivenOptions given) {
  LAMINA_ASSIGN_OR_RETURN(Settings settings, settings_of(given));
  LAMINA_RETURN_IF_ERROR(leave_working_directory(given, settings));
  LAMINA_RETURN_IF_ERROR(Signals::handle());
  LAMINA_ASSIGN_OR_RETURN(const os::Fd lock, lock_store(settings.store));
  const Status done = Daemon(given, settings, lock.get()).run();
  if (done) log(Level::kInfo, "stopped");
  return done;
}

}  // namespace lamina::daemon
