#include "os/overlay.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <cstdint>

namespace lamina::os {

bool is_in_overlay(int fd) {
  struct statfs system{};
  return ::fstatfs(fd, &system) == 0 &&
         static_cast<std::uint32_t>(system.f_type) == OVERLAYFS_SUPER_MAGIC;
}

}  // namespace lamina::os
