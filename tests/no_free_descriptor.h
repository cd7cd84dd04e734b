// A shortage of descriptors, as a leak or a flood of clients makes it.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <stdexcept>

#include "os/fd.h"

namespace lamina::tests {

/// While it exists, this process cannot open a further descriptor.
class NoFreeDescriptor {
 public:
  NoFreeDescriptor() {
    if (::getrlimit(RLIMIT_NOFILE, &before_) != 0) throw std::runtime_error("getrlimit");
    // The kernel gives the lowest number that is free.
    const int lowest = os::Fd(::dup(STDIN_FILENO)).get();
    const rlimit none{static_cast<rlim_t>(lowest), before_.rlim_max};
    if (lowest < 0 || ::setrlimit(RLIMIT_NOFILE, &none) != 0) throw std::runtime_error("setrlimit");
  }
  NoFreeDescriptor(const NoFreeDescriptor&) = delete;
  NoFreeDescriptor& operator=(const NoFreeDescriptor&) = delete;
  NoFreeDescriptor(NoFreeDescriptor&&) = delete;
  NoFreeDescriptor& operator=(NoFreeDescriptor&&) = delete;
  ~NoFreeDescriptor() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace lamina::tests
