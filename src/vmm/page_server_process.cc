#include "vmm/page_server_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/serve.h"
#include "lamina/uuid.h"
#include "store/store.h"
#include "sys/file.h"
#include "sys/process.h"
#include "sys/spawn.h"
#include "sys/thread.h"

namespace lamina::vmm {
namespace {

constexpr std::string_view kReady = "READY=1";
/// No snapshot's name begins so.
constexpr const char* kStartLock = ".page-server";
/// Taking over VMs of a killed server is tried for ten seconds.
constexpr std::chrono::seconds kStartTimeout{60};
constexpr std::size_t kLastWordsBytes = 2048;

/// A socket that one message is received at, in the abstract namespace: nothing to clean up.
struct Notification {
  sys::Fd socket;
  std::string address;  ///< for $NOTIFY_SOCKET: "@name"
};

Result<Notification> open_notification() {
  Notification notification;
  notification.address = "@lamina-" + Uuid::random().to_string();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(&address.sun_path[1], notification.address.data() + 1,
              notification.address.size() - 1);
  notification.socket = sys::Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + notification.address.size());
  if (!notification.socket.valid() ||
      ::bind(notification.socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    return system_failure("bind", notification.address, errno);
  }
  return notification;
}

std::string last_words(int log, std::uint64_t from, const std::string& path) {
  const auto facts = sys::facts_of(log, path);
  if (!facts || facts->size_bytes <= from) return "it said nothing";
  const std::uint64_t end = facts->size_bytes;
  std::vector<std::byte> bytes(std::min<std::uint64_t>(end - from, kLastWordsBytes));
  const auto count = sys::read_at(log, bytes, end - bytes.size(), path);
  if (!count) return "it said nothing";
  std::string text(reinterpret_cast<const char*>(bytes.data()), *count);
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

/// Whether there is a page server, once that is certain.
Result<bool> wait_for_store_server(const std::string& store) {
  constexpr int kPauseMs = 5;
  const auto deadline = std::chrono::steady_clock::now() + kStartTimeout;
  while (true) {
    const StoreServer found = find_store_server(store);
    if (found != StoreServer::kSilent) return found == StoreServer::kServes;
    if (std::chrono::steady_clock::now() > deadline) {
      return fail(ErrorKind::kBusy,
                  "the page server of store '{}' does not answer at '{}'; see what the process "
                  "that serves it waits for, or kill it",
                  store, page_server_metrics_socket(store));
    }
    ::poll(nullptr, 0, kPauseMs);
  }
}

}  // namespace

Result<bool> ensure_page_server(const store::Store& store,
                                const std::vector<std::string>& command) {
  // One that is being started has its lock before it listens: whoever starts it keeps us waiting.
  LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.wait_for_lock(kStartLock));
  LAMINA_ASSIGN_OR_RETURN(const bool served, wait_for_store_server(store.path()));
  if (served) return false;
  if (command.empty()) {
    return fail(ErrorKind::kFailed,
                "no page server runs for store '{}'; start one: lamina serve --store {}",
                store.path(), store.path());
  }
  const std::string log_path = fmt::format("{}/{}/page-server.log", store.path(), store::kVmsArea);
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd log,
                          sys::open_at(AT_FDCWD, log_path, O_RDWR | O_CREAT | O_APPEND, log_path));
  LAMINA_ASSIGN_OR_RETURN(const sys::FileFacts before, sys::facts_of(log.get(), log_path));
  LAMINA_ASSIGN_OR_RETURN(const Notification notification, open_notification());
  LAMINA_ASSIGN_OR_RETURN(const pid_t child, sys::spawn({command,
                                                         {{"NOTIFY_SOCKET", notification.address}},
                                                         log.get(),
                                                         log.get(),
                                                         sys::Company::kOwnSession}));
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd pidfd, sys::open_process(child));
  const auto deadline = std::chrono::steady_clock::now() + kStartTimeout;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      static_cast<void>(sys::kill_process(pidfd.get()));
      ::waitpid(child, nullptr, 0);
      return fail(ErrorKind::kFailed, "the page server of store '{}' was not ready in time: {}",
                  store.path(), last_words(log.get(), before.size_bytes, log_path));
    }
    std::array<pollfd, 2> wait{{{notification.socket.get(), POLLIN, 0}, {pidfd.get(), POLLIN, 0}}};
    if (::poll(wait.data(), wait.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) {
      return system_failure("poll", "page server", errno);
    }
    if ((wait[0].revents & POLLIN) != 0) {
      std::array<char, 256> message{};
      const ssize_t count =
          ::recv(notification.socket.get(), message.data(), message.size(), MSG_DONTWAIT);
      if (count > 0 &&
          std::string_view(message.data(), static_cast<std::size_t>(count)).starts_with(kReady)) {
        return true;
      }
    }
    if ((wait[1].revents & POLLIN) != 0) break;
  }
  ::waitpid(child, nullptr, 0);
  // Somebody may have started one by hand meanwhile: then ours was told so.
  if (wait_for_store_server(store.path()).value_or(false)) return false;
  return fail(ErrorKind::kFailed, "the page server of store '{}' did not start: {}", store.path(),
              last_words(log.get(), before.size_bytes, log_path));
}

Result<std::unique_ptr<PageServerWatch>> PageServerWatch::start(
    const store::Store& store, const std::vector<std::string>& command) {
  LAMINA_ASSIGN_OR_RETURN(sys::Event over, sys::Event::create("page server"));
  std::unique_ptr<PageServerWatch> started(new PageServerWatch(store, command, std::move(over)));
  LAMINA_ASSIGN_OR_RETURN(
      started->thread_, sys::start_thread("page server", [raw = started.get()] { raw->watch(); }));
  return started;
}

PageServerWatch::~PageServerWatch() {
  over_.signal();
  if (thread_.joinable()) thread_.join();
}

void PageServerWatch::watch() const {
  constexpr int kIntervalMs = 500;
  pollfd over{over_.fd(), POLLIN, 0};
  while (::poll(&over, 1, kIntervalMs) <= 0) {
    // What keeps it from starting may pass; whoever waits for the VM has its time limit.
    static_cast<void>(contain("page server", [&]() -> Status {
      if (find_store_server(store_.path()) != StoreServer::kNone) return {};
      LAMINA_RETURN_IF_ERROR(ensure_page_server(store_, command_));
      return {};
    }));
  }
}

}  // namespace lamina::vmm
