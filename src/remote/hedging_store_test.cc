#include "remote/hedging_store.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::ObjectStore;
using object_store::Operation;
using object_store::Outcome;
using object_store::Request;
using std::chrono::milliseconds;

/// Answers every request at the next advance(), but those whose turn is in `never` and `fails`.
class UnevenStore final : public ObjectStore {
 public:
  /// Requests by their number, from 1.
  std::vector<RequestId> never;
  std::vector<RequestId> fails;

  std::vector<RequestId> cancelled;

  RequestId start(Request request, Completion completion) override {
    queued_[next_] = {std::move(request), std::move(completion)};
    return next_++;
  }
  void cancel(RequestId id) override {
    if (queued_.erase(id) > 0) cancelled.push_back(id);
  }
  [[nodiscard]] int poll_fd() const override { return -1; }
  Status advance(milliseconds timeout) override {
    const auto ready = std::ranges::find_if(
        queued_, [&](const auto& entry) { return std::ranges::count(never, entry.first) == 0; });
    if (ready == queued_.end()) {
      ::poll(nullptr, 0, static_cast<int>(timeout.count()));
      return {};
    }
    const RequestId id = ready->first;
    auto [request, completion] = std::move(ready->second);
    queued_.erase(ready);
    Answer answer;
    if (std::ranges::count(fails, id) > 0) {
      answer.error = Error{ErrorKind::kFailed, "as asked for"};
    } else {
      answer.outcome = Outcome::kDone;
      answer.size_bytes = request.buffer.size();
      // Which of the two has answered.
      std::ranges::fill(request.buffer, static_cast<std::byte>(id));
    }
    completion(std::move(answer));
    return {};
  }
  [[nodiscard]] std::size_t pending() const override { return queued_.size(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return std::string(key);
  }
  [[nodiscard]] RequestId sent() const { return next_ - 1; }

 private:
  std::map<RequestId, std::pair<Request, Completion>> queued_;
  RequestId next_ = 1;
};

class HedgingStoreTest : public testing::Test {
 protected:
  // NOLINTBEGIN(*-non-private-member-variables-in-classes): a fixture
  UnevenStore uneven_;
  LateRequests counts_;
  std::unique_ptr<ObjectStore> store_ = make_hedging_store(uneven_, counts_);
  std::vector<std::byte> buffer_ = std::vector<std::byte>(8);
  // NOLINTEND(*-non-private-member-variables-in-classes)

  ObjectStore::RequestId start(Operation operation, std::optional<Answer>& answer) {
    Request request;
    request.operation = operation;
    request.key = "a";
    if (operation == Operation::kGet) request.buffer = buffer_;
    if (operation == Operation::kPut) request.condition = object_store::Condition::kIfAbsent;
    return store_->start(std::move(request),
                         [&answer](Answer given) { answer = std::move(given); });
  }

  void wait_for(const std::optional<Answer>& answer) {
    while (!answer) ASSERT_TRUE(store_->advance(std::chrono::minutes(1)));
  }

  /// So that it is known how long an answer takes.
  void answer_one() {
    std::optional<Answer> answer;
    start(Operation::kHead, answer);
    wait_for(answer);
    ASSERT_TRUE(answer->ok());
  }
};

TEST_F(HedgingStoreTest, LateReadIsAnsweredByItsSecondRequest) {
  answer_one();
  uneven_.never = {2};
  std::optional<Answer> answer;
  start(Operation::kGet, answer);
  wait_for(answer);
  EXPECT_TRUE(answer->ok());
  EXPECT_EQ(buffer_, std::vector<std::byte>(8, std::byte{3}));
  EXPECT_EQ(uneven_.cancelled, std::vector<ObjectStore::RequestId>{2});
  EXPECT_EQ(counts_, (LateRequests{.sent = 1, .won = 1}));
  EXPECT_EQ(store_->pending(), 0U);
}

TEST_F(HedgingStoreTest, ConditionalPutIsSentOnce) {
  answer_one();
  uneven_.never = {2, 3};
  std::optional<Answer> put;
  std::optional<Answer> get;
  const auto id = start(Operation::kPut, put);
  start(Operation::kGet, get);  // later than the PUT, and late as well
  wait_for(get);
  EXPECT_EQ(uneven_.sent(), 4U);
  EXPECT_FALSE(put);
  store_->cancel(id);
  EXPECT_EQ(store_->pending(), 0U);
}

TEST_F(HedgingStoreTest, FailureOfTheSecondRequestEndsNothing) {
  answer_one();
  uneven_.never = {2};
  uneven_.fails = {3};
  std::optional<Answer> answer;
  start(Operation::kGet, answer);
  while (counts_.given_up == 0) ASSERT_TRUE(store_->advance(milliseconds(1)));
  EXPECT_FALSE(answer);
  uneven_.never.clear();
  wait_for(answer);
  EXPECT_TRUE(answer->ok());
  EXPECT_EQ(buffer_, std::vector<std::byte>(8, std::byte{2}));
}

TEST_F(HedgingStoreTest, FailureOfTheFirstRequestIsTheAnswer) {
  answer_one();
  uneven_.never = {2, 3};
  uneven_.fails = {2};
  std::optional<Answer> answer;
  start(Operation::kGet, answer);
  while (counts_.sent == 0) ASSERT_TRUE(store_->advance(milliseconds(1)));
  uneven_.never = {3};
  wait_for(answer);
  EXPECT_FALSE(answer->ok());
  EXPECT_EQ(uneven_.cancelled, std::vector<ObjectStore::RequestId>{3});
}

TEST_F(HedgingStoreTest, CancelledReadEndsBothRequests) {
  answer_one();
  uneven_.never = {2, 3};
  std::optional<Answer> answer;
  const auto id = start(Operation::kGet, answer);
  while (counts_.sent == 0) ASSERT_TRUE(store_->advance(milliseconds(1)));
  store_->cancel(id);
  EXPECT_EQ(uneven_.cancelled, (std::vector<ObjectStore::RequestId>{2, 3}));
  EXPECT_EQ(store_->pending(), 0U);
  EXPECT_FALSE(answer);
}

TEST_F(HedgingStoreTest, SecondRequestsHaveABudget) {
  answer_one();
  for (ObjectStore::RequestId id = 2; id < 20; ++id) uneven_.never.push_back(id);
  std::vector<std::optional<Answer>> answers(9);
  for (auto& answer : answers) start(Operation::kHead, answer);
  while (counts_.sent < 2) ASSERT_TRUE(store_->advance(milliseconds(1)));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(store_->advance(milliseconds(1)));
  EXPECT_EQ(counts_.sent, 2U);
}

}  // namespace
}  // namespace lamina::remote
