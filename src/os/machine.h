// What this machine's kernel offers the page server; asked, never assumed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lamina::os {

struct MachineFacts {
  std::string kernel;                      ///< release, as uname(2) says
  bool userfaultfd = false;                ///< can be created by this process
  std::string userfaultfd_error;           ///< why not
  std::uint64_t userfaultfd_features = 0;  ///< UFFD_FEATURE_* bits
  bool pidfd_getfd = false;                ///< descriptors can be taken from a child
  bool kvm = false;                        ///< /dev/kvm can be opened
  bool avx2 = false;
};

MachineFacts examine_machine();

/// The processors' vendor and model as /proc/cpuinfo names them; empty when it does not.
std::string cpu_model();

/// The kernel's release (uname(2)).
std::string kernel_release();

}  // namespace lamina::os
