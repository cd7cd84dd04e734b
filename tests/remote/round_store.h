// An object store between a test and another one: it counts requests, bytes, and round trips that
// depend on each other.
//
// Requests that are started while the caller does not wait go together: they take one round trip.
// Their answers come together, when the caller waits.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "object_store/object_store.h"

namespace lamina::tests {

struct StoreCost {
  std::map<std::string, std::uint64_t> requests;  ///< by operation
  std::uint64_t rounds = 0;
  std::uint64_t sent_bytes = 0;      ///< bodies of requests
  std::uint64_t received_bytes = 0;  ///< bodies of objects

  [[nodiscard]] std::uint64_t total() const;
  /// "10 requests in 6 rounds (…), 5000 B sent, 300 B received"
  [[nodiscard]] std::string text() const;
};

/// Not thread-safe.
class RoundStore final : public object_store::ObjectStore {
 public:
  explicit RoundStore(std::unique_ptr<object_store::ObjectStore> inner)
      : inner_(std::move(inner)) {}

  [[nodiscard]] const StoreCost& cost() const { return cost_; }

  RequestId start(object_store::Request request, Completion completion) override;
  void cancel(RequestId id) override;
  [[nodiscard]] int poll_fd() const override { return inner_->poll_fd(); }
  Status advance(std::chrono::milliseconds timeout) override;
  [[nodiscard]] std::size_t pending() const override { return queued_.size(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return inner_->name_of(key);
  }

 private:
  struct Queued {
    object_store::Request request;
    Completion completion;
  };

  std::unique_ptr<object_store::ObjectStore> inner_;
  std::map<RequestId, Queued> queued_;  ///< in the order of their start
  RequestId next_id_ = 1;
  StoreCost cost_;
};

}  // namespace lamina::tests
