#include "remote/hedging.h"

#include <algorithm>
#include <vector>

namespace lamina::remote {

std::size_t Hedging::class_of(std::uint64_t bytes) {
  return static_cast<std::size_t>(std::ranges::lower_bound(kClassBytes, bytes) -
                                  kClassBytes.begin());
}

void Hedging::add_answer(Duration took, std::uint64_t bytes) {
  Answers& answers = classes_.at(class_of(bytes));
  answers.samples.at(answers.count++ % kSamples) = took;
}

Hedging::Duration Hedging::Answers::limit() const {
  const std::size_t known = std::min(count, kSamples);
  std::array<Duration, kSamples> sorted = samples;
  // Of 64 samples the third largest: two late ones do not move the limit.
  const std::size_t place = known - 1 - known / 24;
  const auto nth = sorted.begin() + static_cast<std::ptrdiff_t>(place);
  std::nth_element(sorted.begin(), nth, sorted.begin() + static_cast<std::ptrdiff_t>(known));
  // More than the usual spread: a budget that is spent on it is not there for what is late.
  return std::max<Duration>(*nth + *nth / 2, kShortestLimit);
}

Hedging::Duration Hedging::limit(std::uint64_t bytes) const {
  const std::size_t own = class_of(bytes);
  if (classes_.at(own).are_enough()) return classes_.at(own).limit();
  Duration limit = kFirstLimit;
  const auto larger =
      std::find_if(classes_.begin() + static_cast<std::ptrdiff_t>(own) + 1, classes_.end(),
                   [](const Answers& answers) { return answers.are_enough(); });
  if (larger != classes_.end()) limit = std::min(limit, larger->limit());
  for (std::size_t smaller = 0; smaller < own; ++smaller) {
    if (classes_.at(smaller).are_enough()) limit = std::max(limit, classes_.at(smaller).limit());
  }
  return limit;
}

Hedging::Duration Hedging::limit_of_few(std::uint64_t bytes) const {
  const std::size_t own = class_of(bytes);
  const Duration usual = limit(bytes);
  if (classes_.at(own).are_enough()) return usual;
  std::vector<Duration> known;
  for (std::size_t i = 0; i <= own; ++i) {
    const Answers& answers = classes_.at(i);
    const auto begin = answers.samples.begin();
    known.insert(known.end(), begin,
                 begin + static_cast<std::ptrdiff_t>(std::min(answers.count, kSamples)));
  }
  if (known.empty()) return usual;
  const auto median = known.begin() + static_cast<std::ptrdiff_t>((known.size() - 1) / 2);
  std::ranges::nth_element(known, median);
  using Seconds = std::chrono::duration<double>;
  const Seconds transfer(static_cast<double>(bytes) / static_cast<double>(kSlowBytesPerSecond));
  const Duration early = std::max<Duration>(
      *median * kTimesOfFew + std::chrono::duration_cast<Duration>(transfer), kShortestLimit);
  return std::min(usual, early);
}

bool Hedging::take() {
  if (taken_ >= kAtFirst + requests_ / kRequestsForEach) return false;
  ++taken_;
  return true;
}

}  // namespace lamina::remote
