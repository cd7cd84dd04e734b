// Repeats the requests of another store that failed for a while.
//
// Repeated, with growing pauses of random length: what is kUnavailable; what is kUnknown, if doing
// it twice is the same as doing it once; what is kCorrupt, a few times, since bytes may be damaged
// on the way. A request with Request::may_be_sent_again false is repeated only while it has
// certainly not been carried out. A put with Condition::kIfAbsent that may have been carried out is
// repeated too; if it then finds an object, that object is read: if its bytes are those of the put,
// the put is kDone. Its bytes must therefore be its writer's alone, as those of a manifest with a
// nonce are.
#pragma once

#include <chrono>
#include <memory>

#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::object_store {

struct RetryPolicy {
  /// Of one request; Limits::deadline bounds all of its attempts together.
  std::chrono::milliseconds attempt_deadline = std::chrono::seconds(60);
  /// The pause after the n-th failure is a random half to all of first_pause * 2^(n-1).
  std::chrono::milliseconds first_pause = std::chrono::milliseconds(100);
  std::chrono::milliseconds max_pause = std::chrono::seconds(5);
  unsigned max_attempts = 8;
  unsigned max_attempts_if_corrupt = 3;
};

/// kFailed if the kernel has no descriptors left.
Result<std::unique_ptr<ObjectStore>> make_retrying_store(std::unique_ptr<ObjectStore> store,
                                                         RetryPolicy policy);

}  // namespace lamina::object_store
