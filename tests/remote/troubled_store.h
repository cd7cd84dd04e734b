// An object store between a test and another one: it counts requests, and spoils some of them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "object_store/object_store.h"

namespace lamina::tests {

enum class Trouble : std::uint8_t {
  kNone,
  kDenied,       ///< not carried out; the store says so
  kUnavailable,  ///< not carried out; the server says that it is overloaded
  kLostRequest,  ///< not carried out; no answer
  kLostAnswer,   ///< carried out; no answer
  kWrongBytes,   ///< of a read: one byte is another one. Of a write: refused as damaged
  kAbsent,       ///< not carried out; the answer is that there is no such object
  kKill,         ///< SIGKILL for this process, before the request
};

inline constexpr Trouble kAllTroubles[] = {Trouble::kDenied,      Trouble::kUnavailable,
                                           Trouble::kLostRequest, Trouble::kLostAnswer,
                                           Trouble::kWrongBytes,  Trouble::kAbsent};

std::string_view word_of_trouble(Trouble trouble);

/// Not thread-safe.
class TroubledStore final : public object_store::ObjectStore {
 public:
  /// Called with the number of each request, from 1.
  using Choose = std::function<Trouble(std::uint64_t number, const object_store::Request&)>;

  TroubledStore(std::unique_ptr<object_store::ObjectStore> inner, Choose choose)
      : inner_(std::move(inner)), choose_(std::move(choose)) {}

  [[nodiscard]] std::uint64_t requests() const { return requests_; }

  RequestId start(object_store::Request request, Completion completion) override;
  void cancel(RequestId id) override;
  [[nodiscard]] int poll_fd() const override { return inner_->poll_fd(); }
  Status advance(std::chrono::milliseconds timeout) override;
  [[nodiscard]] std::size_t pending() const override { return inner_->pending() + waiting_.size(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return inner_->name_of(key);
  }

 private:
  struct Waiting {
    RequestId id = 0;
    Completion completion;
    object_store::Answer answer;
  };

  RequestId answer_later(Completion completion, object_store::Answer answer);

  std::unique_ptr<object_store::ObjectStore> inner_;
  Choose choose_;
  std::uint64_t requests_ = 0;
  std::deque<Waiting> waiting_;
  RequestId next_own_ = RequestId{1} << 62;
};

}  // namespace lamina::tests
