// When a request that somebody waits for is late enough to be sent a second time.
//
// A server answers most requests in about the same time, and a few of them a second later. A second
// request then usually has its answer first. The limit is half as much again as what nearly all
// recent requests took, so that a slow line or a busy server does not double the load; a budget
// bounds it in any case.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace lamina::remote {

/// Not thread-safe.
class Hedging {
 public:
  using Duration = std::chrono::steady_clock::duration;

  /// Of a request, while there are too few samples.
  static constexpr std::chrono::milliseconds kFirstLimit{1000};
  /// Below that a second request costs more than it gives.
  static constexpr std::chrono::milliseconds kShortestLimit{5};
  /// Requests for each second request, in the long run: 2 %.
  static constexpr std::uint64_t kRequestsForEach = 50;
  /// Second requests that are permitted at the beginning.
  static constexpr std::uint64_t kAtFirst = 2;

  /// A first request was sent.
  void count_request() { ++requests_; }
  /// A request was answered after so long. Of one that was sent twice: since the first.
  void add_answer(Duration took);

  /// A request that has had no answer for that long is late.
  [[nodiscard]] Duration limit() const;

  /// Takes a second request from the budget; false: there is none left.
  bool take();

  [[nodiscard]] std::uint64_t taken() const { return taken_; }

 private:
  static constexpr std::size_t kSamples = 64;
  static constexpr std::size_t kFewest = 16;

  std::array<Duration, kSamples> samples_{};  ///< the newest, in a ring
  std::size_t answers_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t taken_ = 0;
};

}  // namespace lamina::remote
