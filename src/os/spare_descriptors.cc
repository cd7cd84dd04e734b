#include "os/spare_descriptors.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

#include "base/error.h"

namespace lamina::os {

Result<SpareDescriptors> SpareDescriptors::take(std::size_t count) {
  SpareDescriptors spare;
  spare.fds_.reserve(count);
  while (spare.fds_.size() < count) {
    Fd fd(::eventfd(0, EFD_CLOEXEC));
    if (!fd.valid()) return system_failure("reserve", "descriptors", errno);
    spare.fds_.push_back(std::move(fd));
  }
  return spare;
}

}  // namespace lamina::os
