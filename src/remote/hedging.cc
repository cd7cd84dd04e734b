#include "remote/hedging.h"

#include <algorithm>

namespace lamina::remote {

void Hedging::add_answer(Duration took) { samples_[answers_++ % kSamples] = took; }

Hedging::Duration Hedging::limit() const {
  const std::size_t count = std::min(answers_, kSamples);
  if (count < kFewest) return kFirstLimit;
  std::array<Duration, kSamples> sorted = samples_;
  // Of 64 samples the third largest: two late ones do not move the limit.
  const std::size_t place = count - 1 - count / 24;
  const auto nth = sorted.begin() + static_cast<std::ptrdiff_t>(place);
  std::nth_element(sorted.begin(), nth, sorted.begin() + static_cast<std::ptrdiff_t>(count));
  // More than the usual spread: a budget that is spent on it is not there for what is late.
  return std::max<Duration>(*nth + *nth / 2, kShortestLimit);
}

bool Hedging::take() {
  if (taken_ >= kAtFirst + requests_ / kRequestsForEach) return false;
  ++taken_;
  return true;
}

}  // namespace lamina::remote
