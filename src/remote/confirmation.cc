#include "remote/confirmation.h"

#include <utility>

#include "remote/names.h"
#include "remote/requests.h"

namespace lamina::remote {

using object_store::Answer;
using object_store::Outcome;
using object_store::Request;

Confirmation::Confirmation(object_store::ObjectStore& store, std::vector<Reference> references)
    : store_(store),
      references_(std::move(references)),
      findings_(references_.size(), Finding::kThere),
      requests_(references_.size()) {
  start_more();
}

Confirmation::~Confirmation() {
  for (const auto& request : requests_) {
    if (request) store_.cancel(*request);
  }
}

void Confirmation::start_more() {
  while (started_ < references_.size() && started_ - ended_ < kMaxParallelRequests) {
    const std::size_t place = started_++;
    start(place, list_request(tombstone_prefix(references_[place].key), 1), true);
  }
}

void Confirmation::start(std::size_t place, Request request, bool is_list) {
  requests_[place] = store_.start(std::move(request), [this, place, is_list](const Answer& answer) {
    requests_[place].reset();
    is_list ? take_list(place, answer) : take_head(place, answer);
  });
}

void Confirmation::take_list(std::size_t place, const Answer& answer) {
  const Status status = strict_status(answer);
  if (!status) return fail_with(status.error());
  if (!answer.entries.empty()) return end(place, Finding::kTombstone);
  start(place, head_request(references_[place].key), false);
}

void Confirmation::take_head(std::size_t place, const Answer& answer) {
  if (answer.outcome == Outcome::kAbsent) return end(place, Finding::kAbsent);
  const Status status = strict_status(answer);
  if (!status) return fail_with(status.error());
  const bool is_it = answer.size_bytes == references_[place].size_bytes;
  end(place, is_it ? Finding::kThere : Finding::kAbsent);
}

void Confirmation::end(std::size_t place, Finding finding) {
  findings_[place] = finding;
  ++ended_;
  if (!error_) start_more();
}

void Confirmation::fail_with(const Error& error) {
  if (!error_) error_ = error;
  ++ended_;
}

Result<std::vector<Finding>> Confirmation::finish(object_store::BlockingStore& requests) {
  LAMINA_RETURN_IF_ERROR(
      requests.wait_until([this] { return error_.has_value() || ended_ == references_.size(); }));
  if (error_) return std::unexpected(*error_);
  return findings_;
}

}  // namespace lamina::remote
