// Descriptors that are kept for what must not fail for want of one.
#pragma once

#include <cstddef>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Descriptors of nothing. Whoever is about to bring something into a state that it must not stay
/// in takes them before, and releases them when the way back needs some. Other threads may be
/// quicker then: it helps the process that has few, not the one that needs more all the time.
class SpareDescriptors {
 public:
  SpareDescriptors() = default;

  /// kFailed if so many are not left: EMFILE or ENFILE.
  static Result<SpareDescriptors> take(std::size_t count);

  void release() { fds_.clear(); }

 private:
  std::vector<Fd> fds_;
};

}  // namespace lamina::os
