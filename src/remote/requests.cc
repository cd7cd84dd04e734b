#include "remote/requests.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/escape.h"
#include "object_store/answers.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::BlockingStore;
using object_store::Operation;
using object_store::Outcome;
using object_store::Request;

/// Requests that are under way together.
class Batch {
 public:
  Batch(BlockingStore& store, std::vector<Request> requests)
      : store_(store), requests_(std::move(requests)), answers_(requests_.size()) {}
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  Batch(Batch&&) = delete;
  Batch& operator=(Batch&&) = delete;
  ~Batch() = default;

  std::vector<Answer> run() {
    ids_.resize(requests_.size());
    is_done_.resize(requests_.size());
    is_write_.resize(requests_.size());
    const Status waited = store_.wait_until([this] {
      start_more();
      return done_ == requests_.size();
    });
    if (!waited) end_all(waited.error());
    return std::move(answers_);
  }

 private:
  void start_more() {
    while (started_ < requests_.size() && started_ - done_ < kMaxParallelRequests) {
      const std::size_t index = started_++;
      is_write_[index] = object_store::is_write(requests_[index].operation);
      ids_[index] = store_.store().start(std::move(requests_[index]), [this, index](Answer answer) {
        answers_[index] = std::move(answer);
        is_done_[index] = true;
        ++done_;
      });
    }
  }

  void end_all(const Error& error) {
    for (std::size_t index = 0; index < answers_.size(); ++index) {
      if (is_done_[index]) continue;
      const bool was_started = index < started_;
      if (was_started) store_.store().cancel(ids_[index]);
      answers_[index] = object_store::failed_answer(Outcome::kRefused, error);
      answers_[index].may_have_happened = was_started && is_write_[index];
    }
  }

  BlockingStore& store_;
  std::vector<Request> requests_;
  std::vector<Answer> answers_;
  std::vector<object_store::ObjectStore::RequestId> ids_;
  std::vector<bool> is_done_;
  std::vector<bool> is_write_;
  std::size_t started_ = 0;
  std::size_t done_ = 0;
};

}  // namespace

std::vector<Answer> run_all(BlockingStore& store, std::vector<Request> requests) {
  return Batch(store, std::move(requests)).run();
}

Request get_request(const std::string& key, std::uint64_t max_bytes) {
  Request request;
  request.operation = Operation::kGet;
  request.key = key;
  request.max_bytes = max_bytes;
  return request;
}

Request head_request(const std::string& key) {
  Request request;
  request.operation = Operation::kHead;
  request.key = key;
  return request;
}

Request remove_request(const std::string& key) {
  Request request;
  request.operation = Operation::kRemove;
  request.key = key;
  return request;
}

Request list_request(const std::string& prefix, std::size_t max_keys) {
  Request request;
  request.operation = Operation::kList;
  request.key = prefix;
  request.max_keys = max_keys;
  return request;
}

Status strict_status(const Answer& answer) {
  if (answer.ok()) return {};
  Error error = answer.error;
  const bool is_absent = answer.outcome == Outcome::kAbsent;
  if (error.kind == ErrorKind::kNotFound && !is_absent) error.kind = ErrorKind::kFailed;
  return std::unexpected(std::move(error));
}

Result<Listing> list_from(BlockingStore& store, const std::string& prefix,
                          const std::string& after) {
  Listing listing;
  std::string last = after;
  for (bool has_more = true; has_more;) {
    Answer page = store.list(prefix, last);
    LAMINA_RETURN_IF_ERROR(strict_status(page));
    if (!listing.server_time) listing.server_time = page.server_time;
    for (object_store::Entry& entry : page.entries) {
      if (!entry.key.starts_with(prefix) || entry.key <= last) {
        return fail(ErrorKind::kCorrupt,
                    "list of '{}': key '{}' is not in order or not in the list",
                    store.store().name_of(prefix), escaped_value(entry.key));
      }
      last = entry.key;
      listing.entries.push_back(std::move(entry));
    }
    has_more = page.has_more && !page.entries.empty();
  }
  return listing;
}

}  // namespace lamina::remote
