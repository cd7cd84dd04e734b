#include "remote/hedged_read.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "object_store/answers.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::Outcome;

/// Answers when the test says so.
class HeldStore final : public object_store::ObjectStore {
 public:
  RequestId start(object_store::Request request, Completion completion) override {
    running.emplace(next_id, std::pair(std::move(request), std::move(completion)));
    return next_id++;
  }
  void cancel(RequestId id) override { running.erase(id); }
  [[nodiscard]] int poll_fd() const override { return -1; }
  Status advance(std::chrono::milliseconds /*timeout*/) override { return {}; }
  [[nodiscard]] std::size_t pending() const override { return running.size(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return std::string(key);
  }

  void answer(RequestId id, char byte) {
    auto [request, completion] = std::move(running.at(id));
    running.erase(id);
    std::ranges::fill(request.buffer, static_cast<std::byte>(byte));
    Answer good;
    good.outcome = Outcome::kDone;
    completion(std::move(good));
  }
  void refuse(RequestId id, Outcome outcome) {
    const auto completion = std::move(running.at(id).second);
    running.erase(id);
    completion(object_store::failed_answer(outcome, std::string("refused")));
  }

  std::map<RequestId, std::pair<object_store::Request, Completion>> running;
  RequestId next_id = 1;
};

class HedgedReadTest : public testing::Test {
 protected:
  void SetUp() override {
    object_store::Request request;
    request.key = "k";
    read_ = std::make_unique<HedgedRead>(store_, std::move(request), 4, counts_,
                                         [this](const Answer& answer) {
                                           outcome_ = answer.outcome;
                                           ++ends_;
                                           first_byte_ = static_cast<char>(read_->bytes()[0]);
                                           read_.reset();
                                         });
  }

  void expect_counts(std::uint64_t sent, std::uint64_t won, std::uint64_t given_up) const {
    EXPECT_EQ(counts_.sent, sent);
    EXPECT_EQ(counts_.won, won);
    EXPECT_EQ(counts_.given_up, given_up);
  }

  HeldStore store_;
  LateRequests counts_;
  std::unique_ptr<HedgedRead> read_;
  std::optional<Outcome> outcome_;
  int ends_ = 0;
  char first_byte_ = 0;
};

TEST_F(HedgedReadTest, TheFirstGoodAnswerCounts) {
  read_->send_again();
  store_.answer(1, 'a');
  EXPECT_EQ(outcome_, Outcome::kDone);
  EXPECT_EQ(first_byte_, 'a');
  EXPECT_EQ(store_.pending(), 0U);
  expect_counts(1, 0, 1);
}

TEST_F(HedgedReadTest, TheSecondRequestMayWin) {
  read_->send_again();
  store_.answer(2, 'b');
  EXPECT_EQ(outcome_, Outcome::kDone);
  EXPECT_EQ(first_byte_, 'b');
  EXPECT_EQ(store_.pending(), 0U);
  expect_counts(1, 1, 0);
}

TEST_F(HedgedReadTest, AFailureOfTheFirstIsNotKeptBackByTheSecond) {
  for (const Outcome outcome : {Outcome::kUnavailable, Outcome::kAbsent, Outcome::kCorrupt}) {
    if (!read_) SetUp();
    read_->send_again();
    store_.refuse(store_.running.begin()->first, outcome);
    EXPECT_EQ(outcome_, outcome);
    EXPECT_EQ(store_.pending(), 0U);
  }
  EXPECT_EQ(ends_, 3);
  expect_counts(3, 0, 3);
}

TEST_F(HedgedReadTest, AfterAFailureOfTheSecondTheFirstGoesOnAndMayBeSentAgain) {
  read_->send_again();
  store_.refuse(2, Outcome::kUnavailable);
  EXPECT_EQ(ends_, 0);
  EXPECT_FALSE(read_->is_sent_again());
  read_->send_again();
  store_.answer(3, 'c');
  EXPECT_EQ(first_byte_, 'c');
  EXPECT_EQ(ends_, 1);
  expect_counts(2, 1, 1);
}

TEST_F(HedgedReadTest, ADestroyedReadHasNothingUnderWay) {
  read_->send_again();
  read_.reset();
  EXPECT_EQ(store_.pending(), 0U);
  EXPECT_EQ(ends_, 0);
  expect_counts(1, 0, 1);
}

}  // namespace
}  // namespace lamina::remote
