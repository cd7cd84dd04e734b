// Several requests at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "object_store/blocking_store.h"
#include "object_store/object_store.h"

namespace lamina::remote {

/// Requests are passed to the store at most so many at a time.
inline constexpr std::size_t kMaxParallelRequests = 16;

/// The answers, in the order of the requests. After an interruption, or a failure of the store's
/// loop, all answers that are missing have that error, and `may_have_happened` is true for writes.
std::vector<object_store::Answer> run_all(object_store::BlockingStore& store,
                                          std::vector<object_store::Request> requests);

object_store::Request get_request(const std::string& key, std::uint64_t max_bytes);
object_store::Request head_request(const std::string& key);
object_store::Request remove_request(const std::string& key);
/// One page of at most `max_keys`.
object_store::Request list_request(const std::string& prefix, std::size_t max_keys);

/// The answer's error, in which kNotFound means kAbsent and nothing else: a bucket that does not
/// exist is not a missing object.
Status strict_status(const object_store::Answer& answer);

/// A list, and the server's clock when it was made.
struct Listing {
  std::vector<object_store::Entry> entries;
  std::optional<std::chrono::sys_seconds> server_time;
};

/// All keys with `prefix` behind `after`, in order. A failed page fails all of it. kCorrupt: the
/// store does not list in order, or lists other keys.
Result<Listing> list_from(object_store::BlockingStore& store, const std::string& prefix,
                          const std::string& after = {});

}  // namespace lamina::remote
