// When a request that somebody waits for is late enough to be sent a second time.
//
// A server answers most requests of one size in about the same time, and a few of them a second
// later. A second request then usually has its answer first. The limit is half as much again as
// what nearly all recent requests of about that size took, so that a slow line or a busy server
// does not double the load; a budget bounds it in any case.
//
// Sizes are apart because a slow line needs seconds for 16 MiB and milliseconds for 4 KiB: one
// limit for both would never be reached by the small ones, or always by the large ones.
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
  /// A request without samples of its size is not late while it may be that slow.
  static constexpr std::uint64_t kSlowBytesPerSecond = std::uint64_t{16} << 20;
  static constexpr int kTimesOfFew = 4;
  /// Largest requests of the size classes but the last.
  static constexpr std::array<std::uint64_t, 3> kClassBytes{
      std::uint64_t{64} << 10, std::uint64_t{512} << 10, std::uint64_t{4} << 20};

  /// A first request was sent.
  void count_request() { ++requests_; }
  /// A request for so many bytes was answered after so long. Of one that was sent twice: since the
  /// first.
  void add_answer(Duration took, std::uint64_t bytes);

  /// A request for so many bytes that has had no answer for that long is late. While there are too
  /// few samples of its size: kFirstLimit, or less if that is the limit of larger requests, or more
  /// if that is the limit of smaller ones.
  [[nodiscard]] Duration limit(std::uint64_t bytes) const;

  /// As limit(), for who sends too few requests to have enough samples: then four times the median
  /// of what there is of this size and smaller ones, with the time that the bytes may take, if that
  /// is less.
  [[nodiscard]] Duration limit_of_few(std::uint64_t bytes) const;

  /// Takes a second request from the budget; false: there is none left.
  bool take();

 private:
  static constexpr std::size_t kSamples = 64;
  static constexpr std::size_t kFewest = 16;

  /// The answers to requests of one size class.
  struct Answers {
    std::array<Duration, kSamples> samples{};  ///< the newest, in a ring
    std::size_t count = 0;

    [[nodiscard]] bool are_enough() const { return count >= kFewest; }
    [[nodiscard]] Duration limit() const;
  };

  static std::size_t class_of(std::uint64_t bytes);

  std::array<Answers, kClassBytes.size() + 1> classes_;
  std::uint64_t requests_ = 0;
  std::uint64_t taken_ = 0;
};

}  // namespace lamina::remote
