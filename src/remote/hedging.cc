#include "remote/hedging.h"

#include <algorithm>

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

bool Hedging::take() {
  if (taken_ >= kAtFirst + requests_ / kRequestsForEach) return false;
  ++taken_;
  return true;
}

}  // namespace lamina::remote
