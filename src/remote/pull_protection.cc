#include "remote/pull_protection.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "remote/names.h"
#include "remote/pin.h"
#include "remote/requests.h"

namespace lamina::remote {

using object_store::Answer;
using object_store::Request;

std::vector<std::byte> encode_pull_pin(const Uuid& push_id, const Record& record) {
  Pin pin{record.bucket_id, push_id, record.place, {}};
  pin.reused.reserve(record.references.size());
  for (const Reference& reference : record.references) pin.reused.push_back(reference.key);
  return encode_pin(pin);
}

PullProtection::PullProtection(object_store::ObjectStore& store, const Record& record)
    : pin_(encode_pull_pin(push_id_, record)), references_(record.references), store_(store) {
  Request request;
  request.operation = object_store::Operation::kPut;
  request.key = pin_key(push_id_);
  request.body = pin_;
  request_ =
      store_.start(std::move(request), [this](Answer answer) { take_pin(std::move(answer)); });
}

PullProtection::~PullProtection() {
  if (!stored_) store_.cancel(request_);
}

void PullProtection::take_pin(Answer answer) {
  stored_ = std::move(answer);
  // A collector that does not see the pin has made its tombstone before.
  if (stored_->ok()) confirmation_.emplace(store_, references_);
}

Result<bool> PullProtection::finish(Bucket& bucket) {
  LAMINA_RETURN_IF_ERROR(bucket.wait_until([this] { return stored_.has_value(); }));
  LAMINA_RETURN_IF_ERROR(strict_status(*stored_));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<Finding> findings, confirmation_->finish(bucket));
  return std::ranges::all_of(findings, [](Finding found) { return found == Finding::kThere; });
}

void PullProtection::drop(Bucket& bucket) {
  confirmation_.reset();
  // A PUT that is under way would bring the pin back.
  const Status waited = bucket.wait_until([this] { return stored_.has_value(); });
  if (!waited || (!stored_->ok() && !stored_->may_have_happened)) return;
  static_cast<void>(bucket.remove(pin_key(push_id_)));
}

}  // namespace lamina::remote
