#include "loop_image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/file.h"

extern char** environ;  // NOLINT: POSIX has it no other way

namespace lamina::bench {
namespace {

Status run_program(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));  // NOLINT: posix_spawn's signature
  }
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (const int error =
          ::posix_spawnp(&child, arguments.front(), nullptr, nullptr, arguments.data(), environ)) {
    return system_failure("start", command.front(), error);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return system_failure("wait for", command.front(), errno);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return fail(ErrorKind::kFailed, "{} failed", command.front());
  }
  return {};
}

}  // namespace

Result<LoopImage> LoopImage::create(const std::string& image, const std::string& mount_point,
                                    std::uint64_t bytes, FileSystem kind) {
  if (::geteuid() != 0) return fail(ErrorKind::kFailed, "mounting an image needs root");
  {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                            os::open_at(AT_FDCWD, image, O_RDWR | O_CREAT | O_EXCL, image));
    LAMINA_RETURN_IF_ERROR(os::truncate(file.get(), bytes, image));
  }
  LAMINA_RETURN_IF_ERROR(kind == FileSystem::kXfs
                             ? run_program({"mkfs.xfs", "-q", "-m", "reflink=1", image})
                             : run_program({"mkfs.ext4", "-q", "-F", image}));
  std::error_code error;
  std::filesystem::create_directory(mount_point, error);
  if (error) return fail(ErrorKind::kFailed, "make '{}': {}", mount_point, error.message());
  LAMINA_RETURN_IF_ERROR(run_program({"mount", "-o", "loop", image, mount_point}));
  return LoopImage(mount_point);
}

Status LoopImage::use_direct_io() const {
  struct stat status{};
  if (::stat(mount_point_.c_str(), &status) != 0)
    return system_failure("stat", mount_point_, errno);
  const std::string device = fmt::format("/dev/loop{}", minor(status.st_dev));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd loop, os::open_at(AT_FDCWD, device, O_RDWR, device));
  if (::ioctl(loop.get(), LOOP_SET_DIRECT_IO, 1UL) != 0) {
    return system_failure("set direct I/O of", device, errno);
  }
  return {};
}

LoopImage::LoopImage(LoopImage&& other) noexcept
    : mount_point_(std::exchange(other.mount_point_, {})) {}

LoopImage::~LoopImage() {
  if (mount_point_.empty()) return;
  if (::umount2(mount_point_.c_str(), 0) != 0) {
    fmt::print(stderr, "lamina_bench: '{}' is still mounted: {}\n", mount_point_,
               system_error("umount", mount_point_, errno).message);
  }
}

}  // namespace lamina::bench
