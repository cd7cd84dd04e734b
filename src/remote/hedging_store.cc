#include "remote/hedging_store.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "remote/hedging.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::ObjectStore;
using object_store::Operation;
using object_store::Request;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

bool may_be_sent_twice(const Request& request) {
  switch (request.operation) {
    case Operation::kGet:
    case Operation::kHead:
    case Operation::kList:
      return true;
    case Operation::kPut:
      return request.may_be_sent_again && request.condition == object_store::Condition::kNone;
    default:
      return false;
  }
}

/// What moves besides the headers, as far as it is known.
std::uint64_t bytes_of(const Request& request) {
  if (request.operation == Operation::kPut) return request.body.size();
  return request.range ? request.range->length : 0;
}

class HedgingStore final : public ObjectStore {
 public:
  HedgingStore(ObjectStore& store, LateRequests& counts) : store_(store), counts_(counts) {}
  HedgingStore(const HedgingStore&) = delete;
  HedgingStore& operator=(const HedgingStore&) = delete;
  HedgingStore(HedgingStore&&) = delete;
  HedgingStore& operator=(HedgingStore&&) = delete;
  ~HedgingStore() override {
    for (auto& [id, sent] : sent_) give_up(sent);
  }

  RequestId start(Request request, Completion completion) override {
    const RequestId id = next_id_++;
    Sent& sent = sent_[id];
    sent.completion = std::move(completion);
    sent.body_bytes = request.body.size();
    sent.is_get = request.operation == Operation::kGet;
    if (may_be_sent_twice(request)) {
      sent.again.emplace(request);
      hedging_.count_request();
    }
    sent.first = store_.start(std::move(request),
                              [this, id](Answer answer) { take_first(id, std::move(answer)); });
    return id;
  }

  void cancel(RequestId id) override {
    const auto found = sent_.find(id);
    if (found == sent_.end()) return;
    give_up(found->second);
    sent_.erase(found);
  }

  [[nodiscard]] int poll_fd() const override { return store_.poll_fd(); }

  Status advance(milliseconds timeout) override {
    const Clock::time_point end = Clock::now() + timeout;
    const std::uint64_t ended = ended_;
    while (true) {
      const auto next_late = send_late();
      const Clock::time_point before = Clock::now();
      Clock::time_point until = std::max(end, before);
      if (next_late) until = std::min(until, std::max(*next_late, before));
      const auto wait = std::chrono::ceil<milliseconds>(until - before);
      LAMINA_RETURN_IF_ERROR(store_.advance(wait));
      const Clock::time_point now = Clock::now();
      // Something has happened if the wait was shorter than asked for.
      if (ended_ != ended || now >= end || now < until) return {};
    }
  }

  [[nodiscard]] std::size_t pending() const override { return sent_.size(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return store_.name_of(key);
  }

 private:
  struct Sent {
    Completion completion;
    Clock::time_point start = Clock::now();
    std::uint64_t body_bytes = 0;  ///< of the request
    bool is_get = false;
    std::optional<Request> again;  ///< until it was sent again; absent: it must not be
    std::span<std::byte> buffer;   ///< of the caller, if it was sent again
    std::vector<std::byte> second_buffer;
    std::optional<RequestId> first;  ///< while they are under way
    std::optional<RequestId> second;
  };

  /// Sends again what is late. When the next one will be.
  std::optional<Clock::time_point> send_late() {
    const Clock::time_point now = Clock::now();
    std::optional<Clock::time_point> next;
    for (auto& [id, sent] : sent_) {
      if (!sent.again) continue;
      const Clock::time_point late = sent.start + hedging_.limit_of_few(bytes_of(*sent.again));
      if (late > now) {
        next = next ? std::min(*next, late) : late;
      } else if (hedging_.take()) {
        send_again(id, sent);
      } else {
        sent.again.reset();  // the budget grows with requests, and this one waits for none
      }
    }
    return next;
  }

  void send_again(RequestId id, Sent& sent) {
    Request request = *std::exchange(sent.again, std::nullopt);
    sent.buffer = request.buffer;
    sent.second_buffer.resize(request.buffer.size());
    request.buffer = sent.second_buffer;
    request.is_urgent = true;
    ++counts_.sent;
    sent.second = store_.start(std::move(request),
                               [this, id](Answer answer) { take_second(id, std::move(answer)); });
  }

  void take_first(RequestId id, Answer answer) {
    const auto found = sent_.find(id);
    found->second.first.reset();
    end(found, std::move(answer));
  }

  void take_second(RequestId id, Answer answer) {
    const auto found = sent_.find(id);
    Sent& sent = found->second;
    sent.second.reset();
    if (!answer.ok()) {
      ++counts_.given_up;
      return;  // the first one goes on
    }
    ++counts_.won;
    store_.cancel(*std::exchange(sent.first, std::nullopt));
    if (!sent.buffer.empty()) {
      std::memcpy(sent.buffer.data(), sent.second_buffer.data(), sent.buffer.size());
    }
    end(found, std::move(answer));
  }

  void end(std::map<RequestId, Sent>::iterator found, Answer answer) {
    Sent sent = std::move(found->second);
    sent_.erase(found);
    give_up(sent);
    ++ended_;
    if (answer.ok()) {
      hedging_.add_answer(Clock::now() - sent.start,
                          sent.is_get ? answer.size_bytes : sent.body_bytes);
    }
    sent.completion(std::move(answer));
  }

  void give_up(Sent& sent) {
    if (sent.first) store_.cancel(*std::exchange(sent.first, std::nullopt));
    if (!sent.second) return;
    store_.cancel(*std::exchange(sent.second, std::nullopt));
    ++counts_.given_up;
  }

  ObjectStore& store_;
  LateRequests& counts_;
  Hedging hedging_;
  std::map<RequestId, Sent> sent_;
  RequestId next_id_ = 1;
  std::uint64_t ended_ = 0;
};

}  // namespace

std::unique_ptr<ObjectStore> make_hedging_store(ObjectStore& store, LateRequests& counts) {
  return std::make_unique<HedgingStore>(store, counts);
}

}  // namespace lamina::remote
