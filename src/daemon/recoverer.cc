#include "daemon/recoverer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <string_view>
#include <utility>

#include "lamina/listing.h"
#include "report/lifecycle_json.h"
#include "sys/file.h"

namespace lamina::daemon {
namespace {

/// The name of a process, which the kernel cuts to 15 bytes.
std::string name_of_process(pid_t pid) {
  constexpr std::size_t kMaxBytes = 64;
  const std::string path = fmt::format("/proc/{}/comm", pid);
  const auto file = sys::open_at(AT_FDCWD, path, O_RDONLY, path);
  if (!file) return {};
  std::string name(kMaxBytes, '\0');
  const auto count = sys::read_at(file->get(), std::as_writable_bytes(std::span(name)), 0, path);
  name.resize(count ? *count : 0);
  if (name.ends_with('\n')) name.pop_back();
  return name;
}

bool did_something(const RecoverReport& report) {
  return report.completed + report.discarded + report.queued + report.released_pins +
             report.removed_maps + report.resumed_vms + report.notes.size() >
         0;
}

}  // namespace

Recoverer::Recoverer(std::string store, std::vector<std::string> page_server_command,
                     std::function<std::chrono::seconds()> interval, Metrics& metrics,
                     Events& events, Merger& merger)
    : store_(std::move(store)),
      page_server_command_(std::move(page_server_command)),
      interval_(std::move(interval)),
      metrics_(metrics),
      events_(events),
      merger_(merger),
      thread_([this] { work(); }) {}

Recoverer::~Recoverer() {
  stop();
  thread_.join();
}

void Recoverer::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

bool Recoverer::has_recovered() const {
  const std::scoped_lock lock(mutex_);
  return recovered_;
}

bool Recoverer::has_ended() const {
  const std::scoped_lock lock(mutex_);
  return ended_;
}

Result<RecoverReport> Recoverer::recover(RecoverOptions options) {
  options.store = store_;
  options.page_server_command = page_server_command_;
  auto report = lamina::recover(options);
  // Nothing has been paused into it yet: nothing is wrong with that.
  if (options.dry_run || (!report && report.error().kind == ErrorKind::kNotFound)) return report;
  metrics_.count_recover(report);
  if (!report) {
    events_.add(Level::kError, "recover", error_fields(report.error()));
  } else if (did_something(*report)) {
    events_.add(report->queued > 0 ? Level::kWarning : Level::kInfo, "recover",
                report::recover_json(*report, false));
  }
  return report;
}

void Recoverer::work() {
  while (true) {
    try {
      static_cast<void>(recover({}));
      look_for_merges();
      reap_page_servers();
    } catch (const std::exception& exception) {
      log(Level::kError, "recover", {{"message", exception.what()}});
    }
    std::unique_lock lock(mutex_);
    recovered_ = true;
    changed_.wait_for(lock, interval_(), [this] { return stopping_; });
    ended_ = stopping_;
    if (stopping_) return;
  }
}

/// Others may pause into the store too.
void Recoverer::look_for_merges() {
  const auto listing = list_store(store_);
  if (!listing) return;
  for (const SnapshotListing& snapshot : listing->snapshots) {
    if (!snapshot.error && snapshot.layers > 1) merger_.seen(snapshot.name, snapshot.layers);
  }
}

/// Page servers outlive us, and those that we have started and that ended before are ours to wait
/// for. Other children (hooks) have their own waiters: they are left alone.
void Recoverer::reap_page_servers() const {
  if (page_server_command_.empty()) return;
  constexpr std::size_t kKernelNameBytes = 15;
  const std::string& program = page_server_command_.front();
  const std::string name = program.substr(program.rfind('/') + 1).substr(0, kKernelNameBytes);
  siginfo_t child{};
  while (::waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT) == 0 && child.si_pid > 0 &&
         name_of_process(child.si_pid) == name) {
    ::waitpid(child.si_pid, nullptr, WNOHANG);
    child = {};
  }
}

}  // namespace lamina::daemon
