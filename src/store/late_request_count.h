// Counts of late requests (lamina/late_requests.h), which fetchers add to.
//
//   <store>/.counts/late-<event>@<store>    one byte for each event: sent, won or given-up
//
// <store> is stable_name() of the store's identity, so a copy of a store counts anew.
//
// The size of a file is its count, so appending is all that a writer does: no lock is needed, and a
// writer that is killed leaves a count that is right for what it has stored. Late requests are few
// (remote/hedging.h), and so are the bytes. Nothing is synced.
#pragma once

#include <string>

#include "lamina/late_requests.h"
#include "lamina/result.h"

namespace lamina::store {

/// Stores what one process counts. Not thread-safe.
class LateRequestCount {
 public:
  /// `store`: path.
  explicit LateRequestCount(std::string store) : store_(std::move(store)) {}

  /// Adds to the store's counts what `counts` has more than at the last call. After a failure, the
  /// next call adds what this one has not. Never adds an outcome before its request.
  Status store(const LateRequests& counts);

 private:
  std::string store_;
  LateRequests stored_;
};

}  // namespace lamina::store
