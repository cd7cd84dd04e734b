// A read that may be sent a second time, if its answer is late (hedging.h).
//
//   the first request succeeds     its answer; the second is given up
//   the second succeeds            its answer; the first is given up
//   the first fails                its failure; the second is given up
//   the second fails               the first goes on
//
// A failure of the first is an answer too: the store below has repeated what may be repeated, so
// the caller backs off, or asks for something else. A second request, which may be late itself,
// must not keep it waiting.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "lamina/late_requests.h"
#include "object_store/object_store.h"

namespace lamina::remote {

/// Not thread-safe.
class HedgedRead {
 public:
  /// Called once, from the store's advance(), with the answer that counts. It may destroy the read.
  using Done = std::function<void(const object_store::Answer&)>;

  /// Begins to read `size` bytes: `request` is a kGet without a buffer. `store` and `counts` must
  /// outlive this.
  HedgedRead(object_store::ObjectStore& store, object_store::Request request, std::size_t size,
             LateRequests& counts, Done done);
  HedgedRead(const HedgedRead&) = delete;
  HedgedRead& operator=(const HedgedRead&) = delete;
  HedgedRead(HedgedRead&&) = delete;
  HedgedRead& operator=(HedgedRead&&) = delete;
  /// Gives up what is under way.
  ~HedgedRead();

  /// Sends the second request. REQUIRES: !is_sent_again().
  void send_again();
  /// A second request is under way.
  [[nodiscard]] bool is_sent_again() const { return second_.has_value(); }

  /// Of the answer that counts, if it is a good one.
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  void take_first(const object_store::Answer& answer);
  void take_second(const object_store::Answer& answer);
  void give_up_second();
  void end(const object_store::Answer& answer);

  object_store::ObjectStore& store_;
  object_store::Request request_;
  std::size_t size_;
  LateRequests& counts_;
  Done done_;
  std::vector<std::byte> bytes_;
  std::vector<std::byte> second_bytes_;
  std::optional<object_store::ObjectStore::RequestId> first_;  ///< while they are under way
  std::optional<object_store::ObjectStore::RequestId> second_;
};

}  // namespace lamina::remote
