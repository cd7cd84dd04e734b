#include "sys/guarded_path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <utility>

#include "base/error.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace lamina::sys {
namespace {

/// As many as the kernel follows in one path.
constexpr int kMaxLinks = 40;

/// Puts the parts of `path` before what is left to walk.
void push_parts(std::deque<std::string>& parts, const std::string& path) {
  std::deque<std::string> added;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    std::string part = path.substr(start, end - start);
    if (!part.empty() && part != ".") added.push_back(std::move(part));
    start = end + 1;
  }
  parts.insert(parts.begin(), added.begin(), added.end());
}

bool is_trusted_user(std::uint32_t user) { return user == 0 || user == ::geteuid(); }

/// True when nobody but root and this process' user can have put the link into the directory, or
/// can put another in its place.
Result<bool> may_follow(int directory, const std::string& name, const std::string& path) {
  struct stat above{};
  struct stat link{};
  if (::fstat(directory, &above) != 0) return system_failure("fstat", path, errno);
  if (::fstatat(directory, name.c_str(), &link, AT_SYMLINK_NOFOLLOW) != 0) {
    return system_failure("fstatat", path, errno);
  }
  if (!is_trusted_user(above.st_uid) || !is_trusted_user(link.st_uid)) return false;
  const bool group_writes = (above.st_mode & S_IWGRP) != 0 && above.st_gid != ::getegid();
  const bool others_write = (above.st_mode & S_IWOTH) != 0;
  return (!group_writes && !others_write) || (above.st_mode & S_ISVTX) != 0;
}

class Walk {
 public:
  explicit Walk(const std::string& path) : path_(path) { push_parts(parts_, path); }

  /// Walks all parts but the last, and the last too where it is a link that may be followed.
  Result<GuardedPath> to_parent() {
    LAMINA_RETURN_IF_ERROR(start(path_));
    while (true) {
      if (parts_.empty() || (parts_.size() == 1 && parts_.front() == "..")) {
        return fail(ErrorKind::kUsage, "'{}' is a directory", path_);
      }
      if (parts_.size() == 1) {
        LAMINA_ASSIGN_OR_RETURN(const bool followed, follow_link());
        if (followed) continue;
        LAMINA_ASSIGN_OR_RETURN(std::string real, real_path());
        return GuardedPath{std::move(current_), std::move(parts_.front()), std::move(real)};
      }
      LAMINA_RETURN_IF_ERROR(step());
    }
  }

  Result<Fd> to_directory() {
    LAMINA_RETURN_IF_ERROR(start(path_));
    while (!parts_.empty()) LAMINA_RETURN_IF_ERROR(step());
    return open_directory(current_.get(), ".", path_);
  }

 private:
  Status start(const std::string& path) {
    LAMINA_ASSIGN_OR_RETURN(current_, open_at(AT_FDCWD, path.starts_with('/') ? "/" : ".",
                                              O_PATH | O_DIRECTORY, path_));
    return {};
  }

  /// Into the next part, which must be a directory or a link to one.
  Status step() {
    LAMINA_ASSIGN_OR_RETURN(const bool followed, follow_link());
    if (followed) return {};
    // (open_at() lets no name lead out of a directory; here the caller's own path does.)
    const int fd = ::openat(current_.get(), parts_.front().c_str(),
                            O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return system_failure("open", path_, errno);
    current_ = Fd(fd);
    // Whose directory this is can move all that is below it.
    LAMINA_ASSIGN_OR_RETURN(const FileFacts facts, facts_of(fd, path_));
    if (facts.user != 0 && facts.user != ::geteuid()) is_others_ = true;
    parts_.pop_front();
    return {};
  }

  /// Replaces the next part by what it leads to, when it is a symbolic link.
  Result<bool> follow_link() {
    const std::string name = parts_.front();
    const auto target = target_of_link(current_.get(), name);
    if (!target) return false;
    LAMINA_ASSIGN_OR_RETURN(const bool may, may_follow(current_.get(), name, path_));
    if (!may || is_others_) {
      return fail(ErrorKind::kFailed,
                  "'{}': '{}' is a symbolic link that another user can exchange, and is not "
                  "followed; name the file by a path without it",
                  path_, name);
    }
    if (++links_ > kMaxLinks) return system_failure("open", path_, ELOOP);
    parts_.pop_front();
    push_parts(parts_, *target);
    if (target->starts_with('/')) LAMINA_RETURN_IF_ERROR(start(*target));
    return true;
  }

  [[nodiscard]] Result<std::string> real_path() const {
    auto real = sys::real_path("/proc/self/fd/" + std::to_string(current_.get()));
    return real ? std::move(real) : sys::real_path(parent_of(path_));  // without /proc
  }

  const std::string& path_;
  std::deque<std::string> parts_;
  Fd current_;
  bool is_others_ = false;  ///< a directory on the way belongs to another user
  int links_ = 0;
};

}  // namespace

Result<GuardedPath> walk_guarded(const std::string& path) {
  if (path.ends_with('/') || path.empty()) {
    return fail(ErrorKind::kUsage, "'{}' names no file", path);
  }
  return Walk(path).to_parent();
}

Result<Fd> open_guarded_directory(const std::string& path) { return Walk(path).to_directory(); }

}  // namespace lamina::sys
