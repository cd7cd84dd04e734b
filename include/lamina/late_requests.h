// Requests to a bucket that were sent a second time because their answer was late.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"

namespace lamina {

/// What became of second requests. Those that are under way are `sent` only.
struct LateRequests {
  std::uint64_t sent = 0;
  std::uint64_t won = 0;       ///< their answer was used
  std::uint64_t given_up = 0;  ///< the first request was answered before, or they failed

  bool operator==(const LateRequests&) const = default;
};

/// The sum over all fetchers of the store at `store` (a path) since the store was made; a copy of a
/// store begins at 0. Fetchers that run store what they have counted every second, and at their
/// end. What a fetcher had not stored when it was killed is missing, and requests that were under
/// way then stay `sent` only. After a power failure the last counts may be missing too.
Result<LateRequests> late_requests_of(const std::string& store);

}  // namespace lamina
