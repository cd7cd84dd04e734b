#include "object_store/retrying_store.h"

#include <algorithm>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "base/error.h"
#include "object_store/answers.h"
#include "object_store/poller.h"

namespace lamina::object_store {
namespace {

class RetryingStore final : public ObjectStore {
 public:
  using Clock = std::chrono::steady_clock;

  RetryingStore(std::unique_ptr<ObjectStore> store, RetryPolicy policy, Poller poller)
      : policy_(policy),
        poller_(std::move(poller)),
        random_(std::random_device{}()),
        store_(std::move(store)) {}

  Status prepare() { return poller_.watch(store_->poll_fd(), true, false); }

  RequestId start(Request request, Completion completion) override {
    const RequestId id = next_id_++;
    const auto deadline = Clock::now() + request.limits.deadline;
    running_.emplace(id, Running{.request = std::move(request),
                                 .completion = std::move(completion),
                                 .deadline = deadline});
    attempt(id);
    return id;
  }

  void cancel(RequestId id) override {
    const auto found = running_.find(id);
    if (found == running_.end()) return;
    store_->cancel(found->second.inner);
    running_.erase(found);
  }

  [[nodiscard]] int poll_fd() const override { return poller_.fd(); }

  Status advance(std::chrono::milliseconds timeout) override {
    LAMINA_ASSIGN_OR_RETURN([[maybe_unused]] const auto ready, poller_.wait(timeout));
    const Status advanced = store_->advance(std::chrono::milliseconds(0));
    repeat_due(Clock::now());
    set_wake();
    return advanced;
  }

  [[nodiscard]] std::size_t pending() const override { return running_.size(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return store_->name_of(key);
  }

 private:
  struct Running {
    Request request;
    Completion completion;
    Clock::time_point deadline;
    RequestId inner = 0;
    unsigned attempts = 0;
    /// A conditional put may have been carried out.
    bool is_in_doubt = false;
    /// It found an object, which is now being read.
    bool compares = false;
    /// When to try again, if the request is not in the inner store.
    std::optional<Clock::time_point> again{};
  };

  void attempt(RequestId id) {
    Running& running = running_.at(id);
    running.again.reset();
    ++running.attempts;
    Request request = running.request;
    if (running.compares) request = comparison_of(running.request);
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(running.deadline - Clock::now());
    request.limits.deadline =
        std::max(std::chrono::milliseconds(1), std::min(left, policy_.attempt_deadline));
    running.inner = store_->start(std::move(request),
                                  [this, id](Answer answer) { take(id, std::move(answer)); });
  }

  /// Reads the object that a put has found.
  static Request comparison_of(const Request& put) {
    Request get;
    get.operation = Operation::kGet;
    get.key = put.key;
    get.limits = put.limits;
    get.is_urgent = put.is_urgent;
    get.max_bytes = put.body.size();
    return get;
  }

  void take(RequestId id, Answer answer) {
    Running& running = running_.at(id);
    const bool is_conditional = running.request.condition == Condition::kIfAbsent;
    if (!running.compares && is_conditional && answer.may_have_happened) running.is_in_doubt = true;
    if (may_repeat(running, answer)) {
      const auto again = Clock::now() + pause_after(running.attempts);
      if (again < running.deadline) {
        running.again = again;
        return;
      }
    }
    if (running.compares) return end(id, verdict(running, std::move(answer)));
    if (running.is_in_doubt && answer.outcome == Outcome::kExists) {
      running.compares = true;
      running.attempts = 0;
      return attempt(id);
    }
    if (running.is_in_doubt && !answer.ok()) {
      answer.outcome = Outcome::kUnknown;  // also if the last attempt was certainly not carried out
      answer.may_have_happened = true;
    }
    end(id, std::move(answer));
  }

  [[nodiscard]] bool may_repeat(const Running& running, const Answer& answer) const {
    if (!running.request.may_be_sent_again && answer.may_have_happened) return false;
    switch (answer.outcome) {
      case Outcome::kUnavailable:
        return running.attempts < policy_.max_attempts;
      case Outcome::kUnknown:
        // A completion of an upload that was carried out cannot be told from one that was not.
        return running.attempts < policy_.max_attempts &&
               running.request.operation != Operation::kCompleteUpload;
      case Outcome::kCorrupt:
        // A comparison with an object that is longer than ours.
        return !running.compares && running.attempts < policy_.max_attempts_if_corrupt;
      default:
        return false;
    }
  }

  /// What the put's answer is, after the object that it found has been read.
  static Answer verdict(const Running& running, Answer read) {
    const Request& put = running.request;
    if (read.ok() && std::ranges::equal(read.bytes, put.body)) {
      read.bytes.clear();
      return read;
    }
    const bool is_other = read.ok() || read.outcome == Outcome::kCorrupt;
    Answer answer =
        is_other ? failed_answer(Outcome::kExists, "put '" + put.key + "': it exists")
                 : failed_answer(Outcome::kUnknown,
                                 with_context("put whose answer was lost", std::move(read.error)));
    answer.server_time = read.server_time;
    return answer;
  }

  void end(RequestId id, Answer answer) {
    const auto found = running_.find(id);
    const Running running = std::move(found->second);
    running_.erase(found);
    running.completion(std::move(answer));
  }

  Clock::duration pause_after(unsigned failures) {
    const auto grown = policy_.first_pause * (std::int64_t{1} << std::min(failures - 1, 20U));
    const auto pause = std::min<std::chrono::milliseconds>(grown, policy_.max_pause);
    std::uniform_real_distribution<double> share(0.5, 1.0);
    return std::chrono::duration_cast<Clock::duration>(pause * share(random_));
  }

  void repeat_due(Clock::time_point now) {
    std::vector<RequestId> due;
    for (const auto& [id, running] : running_) {
      if (running.again && *running.again <= now) due.push_back(id);
    }
    for (const RequestId id : due) attempt(id);
  }

  void set_wake() {
    std::optional<Clock::time_point> wake;
    for (const auto& [id, running] : running_) {
      if (running.again && (!wake || *running.again < *wake)) wake = running.again;
    }
    poller_.wake_at(wake);
  }

  RetryPolicy policy_;
  Poller poller_;
  std::minstd_rand random_;
  RequestId next_id_ = 1;
  std::map<RequestId, Running> running_;
  // Last: its destructor ends requests that refer to the others.
  std::unique_ptr<ObjectStore> store_;
};

}  // namespace

Result<std::unique_ptr<ObjectStore>> make_retrying_store(std::unique_ptr<ObjectStore> store,
                                                         RetryPolicy policy) {
  LAMINA_ASSIGN_OR_RETURN(Poller poller, Poller::create());
  auto retrying = std::make_unique<RetryingStore>(std::move(store), policy, std::move(poller));
  LAMINA_RETURN_IF_ERROR(retrying->prepare());
  return std::unique_ptr<ObjectStore>(std::move(retrying));
}

}  // namespace lamina::object_store
