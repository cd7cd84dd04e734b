// Features of this machine's kernel that the page server uses, probed at run time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lamina::os {

struct MachineFacts {
  std::string kernel;                      ///< release, as uname(2) says
  bool userfaultfd = false;                ///< this process can create one
  std::string userfaultfd_error;           ///< why it cannot
  std::uint64_t userfaultfd_features = 0;  ///< UFFD_FEATURE_* bits
  bool pidfd_getfd = false;                ///< pidfd_getfd(2) is available
  bool kvm = false;                        ///< /dev/kvm can be opened
  bool avx2 = false;
};

MachineFacts examine_machine();

/// CPU vendor and model from /proc/cpuinfo; empty if unknown.
std::string cpu_model();

/// The kernel's release (uname(2)).
std::string kernel_release();

}  // namespace lamina::os
