#include "remote/publication.h"

#include <utility>

#include "base/error.h"
#include "remote/requests.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::Outcome;

/// The store below repeats requests too; this is for those whose answers stay lost.
constexpr int kPutAttempts = 4;

Publication ended(PublicationOutcome outcome, Error error = {}) {
  Publication publication;
  publication.outcome = outcome;
  publication.error = std::move(error);
  return publication;
}

/// What the record at our place says, which is not absent.
Publication judge(Bucket& bucket, const Record& ours) {
  const auto found = read_and_decode(bucket, ours.place);
  if (!found) {
    if (found.error().kind == ErrorKind::kNotFound) return ended(PublicationOutcome::kAgain);
    return ended(PublicationOutcome::kUnknown, found.error());
  }
  const Record& theirs = found->record();
  if (theirs.nonce == ours.nonce) return check_newest(bucket, ours.place);
  if (!theirs.is_manifest()) return ended(PublicationOutcome::kAgain);
  return ended(PublicationOutcome::kConflict);
}

}  // namespace

Publication publish(Bucket& bucket, const Record& record, std::span<const std::byte> bytes,
                    const std::function<void()>& when_stored) {
  bool may_be_stored = false;
  Error last;
  for (int attempt = 0; attempt < kPutAttempts; ++attempt) {
    const Answer answer =
        bucket.put(record_key(record.place), bytes, object_store::Condition::kIfAbsent);
    if (answer.ok()) {
      if (when_stored) when_stored();
      return check_newest(bucket, record.place);
    }
    if (answer.outcome == Outcome::kExists) return judge(bucket, record);
    may_be_stored = may_be_stored || answer.may_have_happened;
    last = answer.error;
    const bool is_worth_repeating =
        answer.outcome == Outcome::kUnknown || answer.outcome == Outcome::kUnavailable;
    if (!is_worth_repeating || last.kind == ErrorKind::kInterrupted) break;
  }
  return ended(may_be_stored ? PublicationOutcome::kUnknown : PublicationOutcome::kFailed,
               std::move(last));
}

Publication check_newest(Bucket& bucket, const RecordPlace& place) {
  const auto list = list_records(bucket, place.name, place.number);
  if (!list) return ended(PublicationOutcome::kUnknown, list.error());
  const auto newer = newest_state(bucket, list->records);
  if (!newer) return ended(PublicationOutcome::kUnknown, newer.error());
  if (*newer) return ended(PublicationOutcome::kConflict);
  return ended(PublicationOutcome::kAcknowledged);
}

}  // namespace lamina::remote
