#include "remote/round_store.h"

#include <fmt/format.h>

#include "lamina/words.h"

namespace lamina::tests {

using object_store::Answer;
using object_store::ObjectStore;
using object_store::Request;

std::uint64_t StoreCost::total() const {
  std::uint64_t sum = 0;
  for (const auto& [operation, count] : requests) sum += count;
  return sum;
}

std::string StoreCost::text() const {
  std::string operations;
  for (const auto& [operation, count] : requests) {
    operations += fmt::format("{}{} {}", operations.empty() ? "" : ", ", count, operation);
  }
  return fmt::format("{} requests in {} rounds ({}), {} B sent, {} B received", total(), rounds,
                     operations, sent_bytes, received_bytes);
}

ObjectStore::RequestId RoundStore::start(Request request, Completion completion) {
  const RequestId id = next_id_++;
  queued_.emplace(id, Queued{std::move(request), std::move(completion)});
  return id;
}

void RoundStore::cancel(RequestId id) { queued_.erase(id); }

Status RoundStore::advance(std::chrono::milliseconds timeout) {
  if (timeout.count() == 0 || queued_.empty()) return {};
  ++cost_.rounds;
  std::map<RequestId, Answer> answers;
  std::vector<RequestId> sent;
  sent.reserve(queued_.size());
  for (auto& [id, queued] : queued_) {
    ++cost_.requests[std::string(word_of(queued.request.operation))];
    cost_.sent_bytes += queued.request.body.size();
    sent.push_back(id);
    inner_->start(queued.request,
                  [&answers, id](Answer answer) { answers.emplace(id, std::move(answer)); });
  }
  while (answers.size() < sent.size()) {
    const Status advanced = inner_->advance(std::chrono::milliseconds(100));
    if (!advanced) return advanced;
  }
  for (const RequestId id : sent) {
    const auto queued = queued_.find(id);
    if (queued == queued_.end()) continue;  // cancelled by a completion
    Answer& answer = answers.at(id);
    if (queued->second.request.operation == object_store::Operation::kGet && answer.ok()) {
      cost_.received_bytes += answer.size_bytes;
    }
    const Completion completion = std::move(queued->second.completion);
    queued_.erase(queued);
    completion(std::move(answer));
  }
  return {};
}

}  // namespace lamina::tests
