#include "object_store/retrying_store.h"

#include <gtest/gtest.h>

#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "object_store/answers.h"
#include "object_store/blocking_store.h"
#include "os/event.h"

namespace lamina::object_store {
namespace {

/// Ends each request with the next answer that the test has put in.
class ScriptedStore final : public ObjectStore {
 public:
  ScriptedStore() { event_.signal(); }

  RequestId start(Request request, Completion completion) override {
    requests.push_back(request);
    running_.emplace_back(next_id_, std::move(completion));
    return next_id_++;
  }
  void cancel(RequestId id) override {
    std::erase_if(running_, [&](const auto& running) { return running.first == id; });
  }
  [[nodiscard]] int poll_fd() const override { return event_.fd(); }
  Status advance(std::chrono::milliseconds /*timeout*/) override {
    for (std::size_t count = running_.size(); count > 0; --count) {
      const Completion completion = std::move(running_.front().second);
      running_.pop_front();
      Answer answer = std::move(answers.front());
      answers.pop_front();
      completion(std::move(answer));
    }
    return {};
  }
  [[nodiscard]] std::size_t pending() const override { return running_.size(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return std::string(key);
  }

  std::deque<Answer> answers;
  std::vector<Request> requests;

 private:
  os::Event event_ = *os::Event::create("test");
  RequestId next_id_ = 1;
  std::deque<std::pair<RequestId, Completion>> running_;
};

Answer answer_of_outcome(Outcome outcome) {
  Answer answer = failed_answer(outcome, std::string(word_of(outcome)));
  return answer;
}

Answer got(const std::string& text) {
  Answer answer;
  answer.outcome = Outcome::kDone;
  const auto bytes = std::as_bytes(std::span(text));
  answer.bytes.assign(bytes.begin(), bytes.end());
  answer.size_bytes = bytes.size();
  return answer;
}

class RetryingStoreTest : public testing::Test {
 protected:
  RetryingStoreTest() {
    auto inner = std::make_unique<ScriptedStore>();
    inner_ = inner.get();
    store_ = *make_retrying_store(std::move(inner), {.first_pause = std::chrono::milliseconds(0),
                                                     .max_attempts = 4,
                                                     .max_attempts_if_corrupt = 2});
  }

  void expect_answers(std::vector<Answer> answers) {
    inner_->answers.assign(answers.begin(), answers.end());
  }

  Answer run(Operation operation, Condition condition = Condition::kNone) {
    Request request;
    request.operation = operation;
    request.key = "k";
    request.body = std::as_bytes(std::span(body_));
    request.condition = condition;
    return BlockingStore(*store_).run(request);
  }

  [[nodiscard]] std::size_t attempts() const { return inner_->requests.size(); }

  const std::string body_ = "mine";
  ScriptedStore* inner_ = nullptr;
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(RetryingStoreTest, WhatIsUnavailableIsRepeated) {
  expect_answers({answer_of_outcome(Outcome::kUnavailable),
                  answer_of_outcome(Outcome::kUnavailable), got("x")});
  EXPECT_TRUE(run(Operation::kGet).ok());
  EXPECT_EQ(attempts(), 3U);
}

TEST_F(RetryingStoreTest, WhatIsCertainIsNotRepeated) {
  for (const Outcome outcome : {Outcome::kAbsent, Outcome::kDenied, Outcome::kRefused}) {
    expect_answers({answer_of_outcome(outcome)});
    EXPECT_EQ(run(Operation::kGet).outcome, outcome);
  }
  EXPECT_EQ(attempts(), 3U);
}

TEST_F(RetryingStoreTest, WhatMustNotHappenTwiceIsNotSentAgainOnceItMayHaveHappened) {
  Request request;
  request.operation = Operation::kPut;
  request.key = "k";
  request.body = std::as_bytes(std::span(body_));
  request.may_be_sent_again = false;
  Answer internal_error = answer_of_outcome(Outcome::kUnavailable);
  internal_error.may_have_happened = true;
  for (const Answer& last : {answer_of_outcome(Outcome::kUnknown), internal_error}) {
    const std::size_t before = attempts();
    expect_answers({answer_of_outcome(Outcome::kUnavailable), last, got("")});
    EXPECT_EQ(BlockingStore(*store_).run(request).outcome, last.outcome);
    EXPECT_EQ(attempts(), before + 2);
  }
}

TEST_F(RetryingStoreTest, AttemptsAreLimited) {
  expect_answers(std::vector<Answer>(4, answer_of_outcome(Outcome::kUnavailable)));
  EXPECT_EQ(run(Operation::kGet).outcome, Outcome::kUnavailable);
  EXPECT_EQ(attempts(), 4U);
  expect_answers(std::vector<Answer>(2, answer_of_outcome(Outcome::kCorrupt)));
  EXPECT_EQ(run(Operation::kGet).outcome, Outcome::kCorrupt);
  EXPECT_EQ(attempts(), 6U);
}

TEST_F(RetryingStoreTest, NoAttemptBeginsAfterTheDeadline) {
  store_ = nullptr;
  auto inner = std::make_unique<ScriptedStore>();
  inner_ = inner.get();
  store_ = *make_retrying_store(
      std::move(inner), {.first_pause = std::chrono::hours(1), .max_pause = std::chrono::hours(1)});
  expect_answers({answer_of_outcome(Outcome::kUnavailable)});
  EXPECT_EQ(run(Operation::kGet).outcome, Outcome::kUnavailable);
  EXPECT_EQ(attempts(), 1U);
}

TEST_F(RetryingStoreTest, WritesThatMayBeDoneTwiceAreRepeatedWhenTheirAnswerIsLost) {
  for (const Operation operation : {Operation::kPut, Operation::kRemove, Operation::kUploadPart}) {
    expect_answers({answer_of_outcome(Outcome::kUnknown), got("")});
    EXPECT_TRUE(run(operation).ok());
  }
}

TEST_F(RetryingStoreTest, ACompletionIsNotRepeatedWhenItsAnswerIsLost) {
  expect_answers({answer_of_outcome(Outcome::kUnknown)});
  EXPECT_EQ(run(Operation::kCompleteUpload).outcome, Outcome::kUnknown);
  EXPECT_EQ(attempts(), 1U);
}

TEST_F(RetryingStoreTest, AConditionalPutRecognizesItsOwnObject) {
  expect_answers({answer_of_outcome(Outcome::kUnknown), answer_of_outcome(Outcome::kExists),
                  answer_of_outcome(Outcome::kUnavailable), got("mine")});
  EXPECT_TRUE(run(Operation::kPut, Condition::kIfAbsent).ok());
  EXPECT_EQ(inner_->requests.back().operation, Operation::kGet);
}

TEST_F(RetryingStoreTest, AConditionalPutRecognizesTheObjectOfAnother) {
  expect_answers(
      {answer_of_outcome(Outcome::kUnknown), answer_of_outcome(Outcome::kExists), got("hers")});
  EXPECT_EQ(run(Operation::kPut, Condition::kIfAbsent).outcome, Outcome::kExists);
  // One that is longer.
  expect_answers({answer_of_outcome(Outcome::kUnknown), answer_of_outcome(Outcome::kExists),
                  answer_of_outcome(Outcome::kCorrupt)});
  EXPECT_EQ(run(Operation::kPut, Condition::kIfAbsent).outcome, Outcome::kExists);
}

TEST_F(RetryingStoreTest, AServersErrorPutsAConditionalPutInDoubt) {
  Answer internal_error = answer_of_outcome(Outcome::kUnavailable);
  internal_error.may_have_happened = true;
  expect_answers({internal_error, answer_of_outcome(Outcome::kExists), got("mine")});
  EXPECT_TRUE(run(Operation::kPut, Condition::kIfAbsent).ok());
}

TEST_F(RetryingStoreTest, WithoutDoubtAnObjectThatExistsIsAnothers) {
  expect_answers({answer_of_outcome(Outcome::kUnavailable), answer_of_outcome(Outcome::kExists)});
  EXPECT_EQ(run(Operation::kPut, Condition::kIfAbsent).outcome, Outcome::kExists);
}

TEST_F(RetryingStoreTest, DoubtOutlivesLaterFailures) {
  expect_answers({answer_of_outcome(Outcome::kUnknown), answer_of_outcome(Outcome::kDenied)});
  const Answer denied = run(Operation::kPut, Condition::kIfAbsent);
  EXPECT_EQ(denied.outcome, Outcome::kUnknown);
  EXPECT_TRUE(denied.may_have_happened);
  // Removed by another between the two answers.
  expect_answers({answer_of_outcome(Outcome::kUnknown), answer_of_outcome(Outcome::kExists),
                  answer_of_outcome(Outcome::kAbsent)});
  EXPECT_EQ(run(Operation::kPut, Condition::kIfAbsent).outcome, Outcome::kUnknown);
}

TEST_F(RetryingStoreTest, ACancelledRequestIsNotRepeated) {
  expect_answers({answer_of_outcome(Outcome::kUnavailable), got("x")});
  bool is_called = false;
  const auto id = store_->start({.key = "k"}, [&](const Answer&) { is_called = true; });
  inner_->advance(std::chrono::milliseconds(0)).value();
  store_->cancel(id);
  EXPECT_TRUE(store_->advance(std::chrono::milliseconds(0)));
  EXPECT_FALSE(is_called);
  EXPECT_EQ(attempts(), 1U);
  EXPECT_EQ(store_->pending(), 0U);
}

}  // namespace
}  // namespace lamina::object_store
