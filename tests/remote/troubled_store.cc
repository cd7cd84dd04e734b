#include "remote/troubled_store.h"

#include <signal.h>

#include <algorithm>

#include "object_store/answers.h"

namespace lamina::tests {
namespace {

using object_store::Answer;
using object_store::Operation;
using object_store::Outcome;
using object_store::Request;

/// The answer to a request that has none.
Answer no_answer(Operation operation) {
  const bool is_write = object_store::is_write(operation);
  Answer answer = object_store::failed_answer(is_write ? Outcome::kUnknown : Outcome::kUnavailable,
                                              "the connection broke");
  answer.may_have_happened = is_write;
  return answer;
}

}  // namespace

std::string_view word_of_trouble(Trouble trouble) {
  switch (trouble) {
    case Trouble::kNone:
      return "none";
    case Trouble::kDenied:
      return "denied";
    case Trouble::kUnavailable:
      return "unavailable";
    case Trouble::kLostRequest:
      return "lost request";
    case Trouble::kLostAnswer:
      return "lost answer";
    case Trouble::kWrongBytes:
      return "wrong bytes";
    case Trouble::kAbsent:
      return "absent";
    case Trouble::kKill:
      return "kill";
  }
  return "";
}

TroubledStore::RequestId TroubledStore::answer_later(Completion completion, Answer answer) {
  waiting_.push_back({next_own_, std::move(completion), std::move(answer)});
  return next_own_++;
}

TroubledStore::RequestId TroubledStore::start(Request request, Completion completion) {
  const Operation operation = request.operation;
  switch (choose_(++requests_, request)) {
    case Trouble::kNone:
      break;
    case Trouble::kKill:
      ::raise(SIGKILL);
      break;
    case Trouble::kDenied:
      return answer_later(std::move(completion),
                          object_store::failed_answer(Outcome::kDenied, "access denied"));
    case Trouble::kUnavailable:
      return answer_later(std::move(completion),
                          object_store::failed_answer(Outcome::kUnavailable, "slow down"));
    case Trouble::kAbsent:
      return answer_later(std::move(completion),
                          object_store::failed_answer(Outcome::kAbsent, "no such object"));
    case Trouble::kLostRequest:
      return answer_later(std::move(completion), no_answer(operation));
    case Trouble::kLostAnswer:
      return inner_->start(std::move(request),
                           [operation, completion = std::move(completion)](const Answer&) {
                             completion(no_answer(operation));
                           });
    case Trouble::kWrongBytes: {
      if (operation != Operation::kGet) {
        return answer_later(std::move(completion),
                            object_store::failed_answer(Outcome::kCorrupt, "bad digest"));
      }
      const auto buffer = request.buffer;
      return inner_->start(
          std::move(request), [buffer, completion = std::move(completion)](Answer answer) {
            const std::span<std::byte> bytes = buffer.empty() ? std::span(answer.bytes) : buffer;
            if (answer.ok() && !bytes.empty()) bytes[bytes.size() / 2] ^= std::byte{1};
            completion(std::move(answer));
          });
    }
  }
  return inner_->start(std::move(request), std::move(completion));
}

void TroubledStore::cancel(RequestId id) {
  std::erase_if(waiting_, [&](const Waiting& one) { return one.id == id; });
  inner_->cancel(id);
}

Status TroubledStore::advance(std::chrono::milliseconds timeout) {
  if (waiting_.empty()) return inner_->advance(timeout);
  while (!waiting_.empty()) {
    Waiting one = std::move(waiting_.front());
    waiting_.pop_front();
    one.completion(std::move(one.answer));
  }
  return inner_->advance(std::chrono::milliseconds(0));
}

}  // namespace lamina::tests
