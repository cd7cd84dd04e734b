#include "object_store/directory_store.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "object_store/answers.h"
#include "object_store/directory_objects.h"
#include "object_store/key.h"
#include "object_store/poller.h"
#include "os/event.h"
#include "os/thread.h"

namespace lamina::object_store {
namespace {

using StoreClock = std::chrono::steady_clock;

/// A request with bytes of its own, so that the caller's may go away while a thread is at it.
struct Job {
  ObjectStore::RequestId id = 0;
  Request request;
  std::vector<std::byte> body;
};

struct EndedJob {
  ObjectStore::RequestId id = 0;
  Answer answer;
};

/// Jobs, and the threads that carry them out. Thread-safe.
class JobQueue {
 public:
  JobQueue(DirectoryObjects& objects, os::Event event)
      : objects_(objects), event_(std::move(event)) {}
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;
  JobQueue(JobQueue&&) = delete;
  JobQueue& operator=(JobQueue&&) = delete;
  ~JobQueue() {
    {
      const std::scoped_lock lock(mutex_);
      is_ending_ = true;
      jobs_.clear();
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  Status start_threads(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      LAMINA_ASSIGN_OR_RETURN(std::thread thread,
                              os::start_thread("object store", [this] { work(); }));
      threads_.push_back(std::move(thread));
    }
    return {};
  }

  [[nodiscard]] int event_fd() const { return event_.fd(); }

  void add(Job job) {
    {
      const std::scoped_lock lock(mutex_);
      if (job.request.is_urgent) {
        jobs_.push_front(std::move(job));
      } else {
        jobs_.push_back(std::move(job));
      }
    }
    changed_.notify_one();
  }

  /// True if the job had not begun.
  bool remove(ObjectStore::RequestId id) {
    const std::scoped_lock lock(mutex_);
    return std::erase_if(jobs_, [&](const Job& job) { return job.id == id; }) > 0;
  }

  /// Adds an answer that no thread makes.
  void add_ended(EndedJob ended) {
    const std::scoped_lock lock(mutex_);
    ended_.push_back(std::move(ended));
    event_.signal();
  }

  std::vector<EndedJob> take_ended() {
    const std::scoped_lock lock(mutex_);
    event_.clear();
    return std::exchange(ended_, {});
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return is_ending_ || !jobs_.empty(); });
      if (is_ending_) return;
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      Answer answer = carry_out(job);
      lock.lock();
      ended_.push_back(EndedJob{.id = job.id, .answer = std::move(answer)});
      event_.signal();
    }
  }

  Answer carry_out(const Job& job) {
    auto answer = contain("object store",
                          [&]() -> Result<Answer> { return objects_.carry_out(job.request); });
    if (answer) return std::move(*answer);
    return failed_answer(
        is_write(job.request.operation) ? Outcome::kUnknown : Outcome::kUnavailable,
        answer.error());
  }

  DirectoryObjects& objects_;
  os::Event event_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::vector<EndedJob> ended_;
  bool is_ending_ = false;
  std::vector<std::thread> threads_;
};

class DirectoryStore final : public ObjectStore {
 public:
  DirectoryStore(std::unique_ptr<DirectoryObjects> objects, Poller poller, os::Event event)
      : objects_(std::move(objects)),
        poller_(std::move(poller)),
        queue_(*objects_, std::move(event)) {}

  Status start_threads(std::size_t count) {
    LAMINA_RETURN_IF_ERROR(poller_.watch(queue_.event_fd(), true, false));
    return queue_.start_threads(std::max<std::size_t>(count, 1));
  }

  RequestId start(Request request, Completion completion) override {
    const RequestId id = next_id_++;
    running_.emplace(id, Running{.completion = std::move(completion),
                                 .buffer = request.buffer,
                                 .operation = request.operation,
                                 .key = request.key,
                                 .deadline = StoreClock::now() + request.limits.deadline});
    const Status checked = check_request(request);
    if (checked) {
      queue_.add(make_job(id, std::move(request)));
    } else {
      queue_.add_ended({.id = id, .answer = failed_answer(Outcome::kRefused, checked.error())});
    }
    set_wake();
    return id;
  }

  void cancel(RequestId id) override {
    queue_.remove(id);
    running_.erase(id);
    set_wake();
  }

  [[nodiscard]] int poll_fd() const override { return poller_.fd(); }

  Status advance(std::chrono::milliseconds timeout) override {
    LAMINA_ASSIGN_OR_RETURN([[maybe_unused]] const auto ready, poller_.wait(timeout));
    for (EndedJob& ended : queue_.take_ended()) end(ended.id, std::move(ended.answer));
    end_late_ones(StoreClock::now());
    set_wake();
    return {};
  }

  [[nodiscard]] std::size_t pending() const override { return running_.size(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return objects_->name_of(key);
  }

 private:
  struct Running {
    Completion completion;
    std::span<std::byte> buffer;
    Operation operation = Operation::kGet;
    std::string key;
    StoreClock::time_point deadline;
  };

  static Job make_job(RequestId id, Request request) {
    Job job{.id = id, .request = std::move(request), .body = {}};
    // A vector's bytes stay where they are when it is moved.
    job.body.assign(job.request.body.begin(), job.request.body.end());
    job.request.body = job.body;
    return job;
  }

  void end(RequestId id, Answer answer) {
    const auto found = running_.find(id);
    if (found == running_.end()) return;  // cancelled, or late
    const Running running = std::move(found->second);
    running_.erase(found);
    if (!running.buffer.empty() && answer.ok()) {
      std::ranges::copy(answer.bytes, running.buffer.begin());
      answer.bytes.clear();
    }
    running.completion(std::move(answer));
  }

  void end_late_ones(StoreClock::time_point now) {
    std::vector<RequestId> late;
    for (const auto& [id, running] : running_) {
      if (now >= running.deadline) late.push_back(id);
    }
    for (const RequestId id : late) {
      const auto found = running_.find(id);
      if (found == running_.end()) continue;  // cancelled by a completion
      const bool may_have_happened = !queue_.remove(id) && is_write(found->second.operation);
      end(id,
          failed_answer(may_have_happened ? Outcome::kUnknown : Outcome::kUnavailable,
                        fmt::format("{} '{}': its time ran out", word_of(found->second.operation),
                                    name_of(found->second.key))));
    }
  }

  void set_wake() {
    std::optional<StoreClock::time_point> wake;
    for (const auto& [id, running] : running_) {
      if (!wake || running.deadline < *wake) wake = running.deadline;
    }
    poller_.wake_at(wake);
  }

  std::unique_ptr<DirectoryObjects> objects_;
  Poller poller_;
  RequestId next_id_ = 1;
  std::map<RequestId, Running> running_;
  JobQueue queue_;  // last: its destructor waits for the threads
};

}  // namespace

Result<std::unique_ptr<ObjectStore>> open_directory_store(const DirectoryOptions& options) {
  LAMINA_ASSIGN_OR_RETURN(auto objects, DirectoryObjects::open(options.path));
  LAMINA_ASSIGN_OR_RETURN(Poller poller, Poller::create());
  LAMINA_ASSIGN_OR_RETURN(os::Event event, os::Event::create("object store"));
  auto store =
      std::make_unique<DirectoryStore>(std::move(objects), std::move(poller), std::move(event));
  LAMINA_RETURN_IF_ERROR(store->start_threads(options.max_parallel));
  return std::unique_ptr<ObjectStore>(std::move(store));
}

}  // namespace lamina::object_store
