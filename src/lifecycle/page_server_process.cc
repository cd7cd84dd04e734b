#include "lifecycle/page_server_process.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/serve.h"
#include "os/file.h"
#include "os/long_wait.h"
#include "os/notify.h"
#include "os/poll.h"
#include "os/proc_file.h"
#include "os/process.h"
#include "os/spawn.h"
#include "os/thread.h"
#include "store/areas.h"
#include "store/store.h"

namespace lamina::lifecycle {
namespace {

constexpr const char* kLogName = "page-server.log";
/// Snapshot names do not begin with a dot.
constexpr const char* kStartLock = ".page-server";
/// A new server tries for 10 s to take over the VMs of a killed one.
constexpr std::chrono::seconds kStartTimeout{60};
/// How long starting a page server may fail before a wait for it ends; and how long, in addition to
/// the 10 s of one query, a server that has the lock may leave queries unanswered.
constexpr std::chrono::milliseconds kLongestWithout{10'000};
constexpr std::size_t kLastWordsBytes = 2048;

std::string last_words(int log, std::uint64_t from, const std::string& path) {
  const auto facts = os::facts_of(log, path);
  if (!facts || facts->size_bytes <= from) return "it said nothing";
  const std::uint64_t end = facts->size_bytes;
  std::vector<std::byte> bytes(std::min<std::uint64_t>(end - from, kLastWordsBytes));
  const auto count = os::read_at(log, bytes, end - bytes.size(), path);
  if (!count) return "it said nothing";
  std::string text(reinterpret_cast<const char*>(bytes.data()), *count);
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

bool is_signalled(int fd) {
  pollfd event{fd, POLLIN, 0};
  return fd >= 0 && ::poll(&event, 1, 0) > 0;
}

std::unexpected<Error> not_needed() {
  return fail(ErrorKind::kInterrupted, "the page server is not needed any more");
}

/// Resident memory of a process in KiB; nullopt if it is not known.
std::optional<std::int64_t> resident_kib(pid_t pid) {
  const auto status = os::read_proc_file(fmt::format("/proc/{}/status", pid));
  if (!status) return std::nullopt;
  std::int64_t kib = 0;
  for (const char* name : {"VmRSS:", "HugetlbPages:"}) {
    std::string_view value = os::proc_value(*status, name);
    kib += os::take_number(value).value_or(0);
  }
  return kib;
}

/// The lock of the process that starts the server, held while it starts.
Result<store::NameLock> wait_for_start_lock(const store::Store& store, int give_up) {
  constexpr int kPauseMs = 10;
  const auto deadline = std::chrono::steady_clock::now() + 2 * kStartTimeout;
  while (true) {
    auto lock = store.lock(kStartLock);
    if (lock || lock.error().kind != ErrorKind::kBusy) return lock;
    if (is_signalled(give_up)) return not_needed();
    if (std::chrono::steady_clock::now() > deadline) {
      return fail(ErrorKind::kBusy,
                  "another process has been starting the page server of store '{}' for {} s; see "
                  "which one holds '{}/{}/{}', and end it",
                  store.path(), (2 * kStartTimeout).count(), store.path(), store::kLockArea,
                  kStartLock);
    }
    ::poll(nullptr, 0, kPauseMs);
  }
}

std::unexpected<Error> cannot_serve(const std::string& store, std::string_view cause) {
  return with_remedy(
      fail(ErrorKind::kFailed, "the page server of store '{}' runs, and cannot serve: {}", store,
           cause),
      "raise the limit of processes, memory or descriptors that it has reached; it goes on by "
      "itself then");
}

/// Whether there is a page server that serves; waits until that is certain. One that cannot serve
/// tries again at least once a second.
Result<bool> wait_for_store_server(const std::string& store, int give_up) {
  constexpr int kPauseMs = 5;
  constexpr std::chrono::milliseconds kUntilItServes{1500};
  const auto begun = std::chrono::steady_clock::now();
  std::string cause;
  while (true) {
    const StoreServer found = find_store_server(store, &cause);
    const auto waited = std::chrono::steady_clock::now() - begun;
    const bool is_certain = found != StoreServer::kSilent && found != StoreServer::kCannotServe;
    if (is_certain) return found != StoreServer::kNone;
    if (is_signalled(give_up)) return not_needed();
    if (found == StoreServer::kCannotServe && waited > kUntilItServes) {
      return cannot_serve(store, cause);
    }
    if (waited > kStartTimeout) {
      return fail(ErrorKind::kBusy,
                  "the page server of store '{}' has its lock and does not answer; see what the "
                  "process that serves it waits for, or kill it",
                  store);
    }
    ::poll(nullptr, 0, kPauseMs);
  }
}

}  // namespace

Result<bool> ensure_page_server(const store::Store& store, const std::vector<std::string>& command,
                                int give_up) {
  const os::LongWait waiting;
  // A server takes its lock before it listens; until then its starter holds the start lock.
  LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, wait_for_start_lock(store, give_up));
  LAMINA_ASSIGN_OR_RETURN(const bool served, wait_for_store_server(store.path(), give_up));
  if (served) return false;
  if (command.empty()) {
    return with_remedy(fail(ErrorKind::kFailed, "no page server runs for store '{}'", store.path()),
                       "start one: lamina serve --store {}", store.path());
  }
  const std::string log_path = fmt::format("{}/{}/{}", store.path(), store::kVmsArea, kLogName);
  LAMINA_ASSIGN_OR_RETURN(
      const os::OpenedFile opened,
      os::open_regular(store.vms_area(), kLogName, O_RDWR | O_CREAT | O_APPEND, log_path));
  const os::Fd& log = opened.fd;
  const os::FileFacts& before = opened.facts;
  LAMINA_ASSIGN_OR_RETURN(const os::ReadySocket ready, os::ReadySocket::open());
  os::SpawnRequest request;
  request.words = command;
  request.variables = {{"NOTIFY_SOCKET", ready.address()}};
  request.output = log.get();
  request.errors = log.get();
  LAMINA_ASSIGN_OR_RETURN(const os::DetachedProcess started, os::spawn_detached(request));
  const os::Fd& pidfd = started.pidfd;
  const auto deadline = std::chrono::steady_clock::now() + kStartTimeout;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      static_cast<void>(os::kill_process(pidfd.get()));
      return fail(ErrorKind::kFailed, "the page server of store '{}' was not ready in time: {}",
                  store.path(), last_words(log.get(), before.size_bytes, log_path));
    }
    std::array<pollfd, 3> wait{
        {{ready.fd(), POLLIN, 0}, {pidfd.get(), POLLIN, 0}, {give_up, POLLIN, 0}}};
    if (::poll(wait.data(), wait.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) {
      return system_failure("poll", "page server", errno);
    }
    if ((wait[0].revents & POLLIN) != 0 && ready.received_ready_from(started.pid)) return true;
    if ((wait[1].revents & POLLIN) != 0) break;
    // The started process continues: the next caller that needs it waits for it.
    if (wait[2].revents != 0) return not_needed();
  }
  // Another one may have been started meanwhile; then ours has ended with that message.
  if (wait_for_store_server(store.path(), give_up).value_or(false)) return false;
  return fail(ErrorKind::kFailed, "the page server of store '{}' did not start: {}", store.path(),
              last_words(log.get(), before.size_bytes, log_path));
}

Result<std::unique_ptr<PageServerWatch>> PageServerWatch::start(
    const store::Store& store, const std::vector<std::string>& command,
    std::chrono::milliseconds limit, pid_t vm) {
  LAMINA_ASSIGN_OR_RETURN(os::Event over, os::Event::create("page server"));
  std::unique_ptr<PageServerWatch> started(
      new PageServerWatch(store, command, std::min(limit, kLongestWithout), vm, std::move(over)));
  LAMINA_ASSIGN_OR_RETURN(started->thread_,
                          os::start_thread("page server", [raw = started.get()] { raw->watch(); }));
  return started;
}

PageServerWatch::~PageServerWatch() {
  over_.signal();
  if (thread_.joinable()) thread_.join();
}

std::optional<Error> PageServerWatch::failure() const {
  const MutexLock lock(mutex_);
  return failure_;
}

bool PageServerWatch::needs_pages() const {
  // If that is not known, an unneeded server does no harm.
  return vm_ <= 0 || os::waits_for_pages(vm_).value_or(true);
}

bool PageServerWatch::gets_pages() {
  const auto now_kib = vm_ > 0 ? resident_kib(vm_) : std::nullopt;
  return now_kib && std::exchange(resident_kib_, *now_kib) != *now_kib;
}

Result<bool> PageServerWatch::start_if_none(StoreServer found, std::string_view cause) {
  const std::string& store = store_.path();
  switch (found) {
    case StoreServer::kCannotServe:
      return cannot_serve(store, cause);
    case StoreServer::kNone:
      return ensure_page_server(store_, command_, over_.fd());
    case StoreServer::kBusy:
      return fail(ErrorKind::kBusy,
                  "the page server of store '{}' does not answer, and the VM gets no page; see "
                  "which process holds '{}/{}/page-server.lock' and what it waits for (one that is "
                  "stopped goes on with SIGCONT), or kill it",
                  store, store, store::kVmsArea);
    default:
      return fail(ErrorKind::kBusy,
                  "the page server of store '{}' has its lock and does not listen", store);
  }
}

void PageServerWatch::look(Clock::time_point& failing_since) {
  constexpr Clock::time_point kNever{};
  std::string cause;
  const StoreServer found = find_store_server(store_.path(), &cause);
  // The serving process serves pages even while its supervisor does not answer.
  const bool gets = gets_pages();
  const bool serves = found == StoreServer::kServes || (found == StoreServer::kBusy && gets);
  if (serves || !needs_pages()) {
    failing_since = kNever;
    return;
  }
  const Result<bool> started = start_if_none(found, cause);
  if (started) {
    failing_since = kNever;
    return;
  }
  // The cause that keeps it from starting, or from answering, may pass.
  if (failing_since == kNever) failing_since = Clock::now();
  if (Clock::now() - failing_since < longest_without_) return;
  if (vm_ > 0 && !os::waits_for_pages(vm_).value_or(false)) return;
  const MutexLock lock(mutex_);
  failure_ = started.error();
}

void PageServerWatch::watch() {
  constexpr int kIntervalMs = 500;
  Clock::time_point failing_since{};
  static_cast<void>(gets_pages());
  pollfd over{over_.fd(), POLLIN, 0};
  while (!os::wait_for_events({&over, 1}, kIntervalMs).value_or(false)) {
    static_cast<void>(contain("page server", [&]() -> Status {
      look(failing_since);
      return {};
    }));
  }
}

}  // namespace lamina::lifecycle
