#include "server/openings.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/thread.h"

namespace lamina::server {
namespace {

/// Snapshots that are read at once. One more waits until one of them is read.
constexpr std::size_t kMaxThreads = 64;

}  // namespace

Openings::~Openings() {
  // Threads whose results were taken are letting go of them: then nothing of theirs is left open.
  while (results_ && running_.empty() && results_.use_count() > 1) std::this_thread::yield();
}

Status Openings::start() {
  return contain("opening snapshots", [&]() -> Status {
    auto results = std::make_shared<Results>();
    LAMINA_ASSIGN_OR_RETURN(results->event, os::Event::create("opened snapshots"));
    const MutexLock lock(results->mutex);
    // A thread that has read must not fail to say so.
    results->finished.reserve(kMaxThreads);
    results_ = results;
    return {};
  });
}

void Openings::forget() {
  jobs_.clear();
  running_.clear();
  // A thread may have held its mutex when this child was forked: it is not looked at any more.
  results_.reset();
}

void Openings::open(SnapshotRequest request, Done done,
                    std::optional<std::chrono::milliseconds> limit) {
  Job job{std::move(request), std::move(done), limit.value_or(std::chrono::milliseconds(0)),
          limit ? Clock::now() + *limit : Clock::time_point::max()};
  jobs_.push_back(std::move(job));
  settle(std::prev(jobs_.end()));
}

bool Openings::is_running(const std::string& key) const {
  return std::any_of(running_.begin(), running_.end(),
                     [&](const auto& one) { return one.second.key == key; });
}

bool Openings::settle(std::list<Job>::iterator job) {
  std::vector<std::string> notes;
  auto open = snapshots_.find_open(job->request, notes);
  for (const std::string& note : notes) log_(note);
  if (!open) {
    finish(job, std::unexpected(open.error()));
    return true;
  }
  if (*open) {
    finish(job, std::move(**open));
    return true;
  }
  if (is_running(job->request.key) || running_.size() >= kMaxThreads) return false;
  const Status started = start_reading(job->request);
  if (started) return false;
  finish(job, std::unexpected(started.error()));
  return true;
}

Status Openings::start_reading(const SnapshotRequest& request) {
  const std::uint64_t number = ++last_number_;
  const auto read = [results = results_, number, request] {
    auto files = contain("open a snapshot", [&] { return read_files(request); });
    {
      const MutexLock lock(results->mutex);
      results->finished.push_back({number, std::move(files)});
    }
    results->event.signal();
  };
  running_.emplace(number, request);
  auto thread = os::start_thread("open a snapshot", read);
  if (thread) {
    thread->detach();
    return {};
  }
  // Others wait for the storage, too, rather than that this VM is refused.
  Status done = contain("open a snapshot", [&]() -> Status {
    read();
    return {};
  });
  if (!done) running_.erase(number);
  return done;
}

void Openings::handle() {
  results_->event.clear();
  while (true) {
    std::optional<Finished> next;
    {
      const MutexLock lock(results_->mutex);
      if (results_->finished.empty()) break;
      next = std::move(results_->finished.back());
      results_->finished.pop_back();
    }
    // What there is no memory for here, its request is told, or finds out by itself.
    const Status taken = contain("open a snapshot", [&]() -> Status {
      take(std::move(*next));
      return {};
    });
    if (!taken) log_(one_line(taken.error()));
  }
  start_threads();
}

void Openings::take(Finished finished) {
  const auto thread = running_.extract(finished.number);
  if (thread.empty()) return;
  const SnapshotRequest& request = thread.mapped();
  const auto is_asked = [&](const Job& job) {
    return job.request.key == request.key && job.request.path == request.path;
  };
  const auto job = std::find_if(jobs_.begin(), jobs_.end(), is_asked);
  // It was given up meanwhile.
  if (job == jobs_.end()) return;
  if (!finished.files) return finish(job, std::unexpected(finished.files.error()));
  std::vector<std::string> notes;
  auto service = contain("open a snapshot", [&] {
    return snapshots_.add(request, std::move(*finished.files), notes);
  });
  for (const std::string& note : notes) log_(note);
  // Kept until those that wait for the same snapshot have found it.
  const auto kept = service ? service->snapshot : nullptr;
  finish(job, std::move(service));
  for (auto one = jobs_.begin(); one != jobs_.end();) {
    const auto other = one++;
    if (other->request.key == request.key) settle(other);
  }
}

void Openings::start_threads() {
  for (auto one = jobs_.begin(); one != jobs_.end() && running_.size() < kMaxThreads;) {
    const auto job = one++;
    if (!is_running(job->request.key)) settle(job);
  }
}

void Openings::finish(std::list<Job>::iterator job, Result<Service> service) {
  const Done done = std::move(job->done);
  jobs_.erase(job);
  done(std::move(service));
}

int Openings::expire() {
  const Clock::time_point now = Clock::now();
  int next_ms = -1;
  for (auto one = jobs_.begin(); one != jobs_.end();) {
    const auto job = one++;
    if (job->deadline == Clock::time_point::max()) continue;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(job->deadline - now);
    if (left.count() > 0) {
      const int left_ms = static_cast<int>(left.count()) + 1;
      next_ms = next_ms < 0 ? left_ms : std::min(next_ms, left_ms);
      continue;
    }
    finish(job, fail(ErrorKind::kBusy,
                     "'{}' could not be opened within {} s; see what its storage waits for",
                     job->request.path,
                     std::chrono::duration_cast<std::chrono::seconds>(job->limit).count()));
  }
  return next_ms;
}

}  // namespace lamina::server
