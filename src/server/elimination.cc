#include "server/elimination.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace lamina::server {
namespace {

using Ids = Elimination::Ids;

Ids both(const Ids& a, const Ids& b) {
  Ids found;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::inserter(found, found.end()));
  return found;
}

Ids without(const Ids& a, const Ids& b) {
  Ids left;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::inserter(left, left.end()));
  return left;
}

}  // namespace

void Elimination::crashed(const Ids& vms) {
  ++crashes_;
  if (!served_) {
    if (crashes_ < kCrashesToBegin || vms.empty()) return;
    crashes_ = 0;
    suspects_ = vms;
    tried_ = {};
    innocent_ = {};
    served_ = Ids();
    return;
  }
  // It crashed with no VM to serve: then it is not by a VM.
  if (tried_.empty()) return stop();
  if (tried_.size() == 1 && suspects_.size() == 1) {
    if (crashes_ < kCrashesOfOne) return;
    guilty_ = *tried_.begin();
    return stop();
  }
  if (crashes_ < kCrashesOfSome) return;
  suspects_ = tried_;
  try_next(vms);
}

void Elimination::lived(const Ids& vms) {
  crashes_ = 0;
  if (!served_) return;
  innocent_.insert(tried_.begin(), tried_.end());
  suspects_ = without(suspects_, tried_);
  try_next(vms);
}

std::optional<std::uint64_t> Elimination::take_guilty() { return std::exchange(guilty_, {}); }

void Elimination::stop() {
  crashes_ = 0;
  served_.reset();
}

void Elimination::try_next(const Ids& vms) {
  suspects_ = both(suspects_, vms);
  innocent_ = both(innocent_, vms);
  if (suspects_.empty()) return stop();
  crashes_ = 0;
  const auto half = static_cast<std::ptrdiff_t>((suspects_.size() + 1) / 2);
  tried_ = Ids(suspects_.begin(), std::next(suspects_.begin(), half));
  // The last suspect is guilty only when it crashes processes alone.
  served_ = suspects_.size() == 1 ? Ids() : innocent_;
  served_->insert(tried_.begin(), tried_.end());
}

}  // namespace lamina::server
