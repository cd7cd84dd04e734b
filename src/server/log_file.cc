#include "server/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "os/directory.h"
#include "os/path_walk.h"

namespace lamina::server {
namespace {

constexpr mode_t kMode = 0600;

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

LogFile LogFile::of_stderr() {
  struct stat file{};
  if (::fstat(STDERR_FILENO, &file) != 0 || !S_ISREG(file.st_mode)) return {};
  std::array<char, 4096> target{};
  const ssize_t length = ::readlink("/proc/self/fd/2", target.data(), target.size());
  if (length <= 0) return {};
  const std::string path(target.data(), static_cast<std::size_t>(length));
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {};
  LogFile log(path.substr(slash + 1),
              os::Fd(::open(os::parent_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  struct stat directory{};
  struct stat named{};
  if (!log.directory_.valid() || ::fstat(log.directory_.get(), &directory) != 0 ||
      (directory.st_uid != ::geteuid() && directory.st_uid != 0) ||
      ::fstatat(log.directory_.get(), log.name_.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 ||
      !same_file(file, named)) {
    return {};
  }
  return log;
}

Status LogFile::reopen() const {
  if (name_.empty()) return {};
  struct stat before{};
  struct stat errors{};
  struct stat output{};
  const os::Fd file(::openat(directory_.get(), name_.c_str(),
                             O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                             kMode));
  if (!file.valid()) return system_failure("open", name_, errno);
  if (::fstat(file.get(), &before) != 0 || !S_ISREG(before.st_mode)) {
    return fail(ErrorKind::kFailed, "'{}' is not a file any more", name_);
  }
  const bool is_output = ::fstat(STDERR_FILENO, &errors) == 0 &&
                         ::fstat(STDOUT_FILENO, &output) == 0 && same_file(errors, output);
  if (::dup2(file.get(), STDERR_FILENO) < 0) return system_failure("dup2", name_, errno);
  if (is_output) static_cast<void>(::dup2(file.get(), STDOUT_FILENO));
  return {};
}

bool LogFile::rotate_if_larger(std::uint64_t bytes) const {
  struct stat file{};
  if (name_.empty() || ::fstat(STDERR_FILENO, &file) != 0 ||
      static_cast<std::uint64_t>(file.st_size) <= bytes) {
    return false;
  }
  struct stat named{};
  const bool is_named =
      ::fstatat(directory_.get(), name_.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0;
  // Another process may have moved it away already.
  if (is_named && same_file(file, named) &&
      ::renameat(directory_.get(), name_.c_str(), directory_.get(), (name_ + ".1").c_str()) != 0) {
    return false;
  }
  return reopen().has_value();
}

bool LogFile::is_in(int directory, const std::string& name) const {
  struct stat mine{};
  struct stat other{};
  return name_ == name && ::fstat(directory_.get(), &mine) == 0 &&
         ::fstat(directory, &other) == 0 && same_file(mine, other);
}

}  // namespace lamina::server
