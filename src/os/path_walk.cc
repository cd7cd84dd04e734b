#include "os/path_walk.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace lamina::os {
namespace {

struct FreeMemory {
  void operator()(char* pointer) const { ::free(pointer); }  // NOLINT(cppcoreguidelines-no-malloc)
};

/// The kernel's limit for one path.
constexpr int kMaxLinks = 40;
/// Flags for intermediate directories, which are never read.
constexpr int kOnTheWay = O_PATH | O_DIRECTORY | O_CLOEXEC;

int open_retrying(int directory, const char* name, int flags, mode_t mode) {
  while (true) {
    const int fd = ::openat(directory, name, flags | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EINTR) return fd;
  }
}

std::unexpected<Error> refuse_link(const std::string& object) {
  return fail(ErrorKind::kFailed, "'{}' is a symbolic link, which is not followed here", object);
}

bool is_link(int directory, const char* name) {
  struct stat status{};
  return ::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode);
}

/// openat(2) of one component. With O_DIRECTORY the kernel reports ENOTDIR for a link.
Result<Fd> open_component(int directory, const std::string& name, int flags, mode_t mode,
                          const std::string& object) {
  const int fd = open_retrying(directory, name.c_str(), flags | O_NOFOLLOW, mode);
  if (fd >= 0) return Fd(fd);
  const int error = errno;
  if ((error == ELOOP || error == ENOTDIR) && is_link(directory, name.c_str())) {
    return refuse_link(object);
  }
  return system_failure("open", object, error);
}

std::vector<std::string> components_of(std::string_view path) {
  std::vector<std::string> components;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string_view one = path.substr(start, end - start);
    if (!one.empty() && one != ".") components.emplace_back(one);
    start = end + 1;
  }
  return components;
}

bool is_trusted_user(uid_t user) { return user == 0 || user == ::geteuid(); }

bool is_proc(int fd) {
  struct statfs system{};
  return ::fstatfs(fd, &system) == 0 && system.f_type == PROC_SUPER_MAGIC;
}

Result<std::string> target_of(int link, const std::string& object) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlinkat(link, "", target.data(), target.size());
  if (length <= 0) return system_failure("readlink", object, length < 0 ? errno : ENOENT);
  target.resize(static_cast<std::size_t>(length));
  return target;
}

/// Whether the walk follows a symbolic link in the last component.
enum class LastLink : std::uint8_t { kFollow, kKeep };

/// Walks a path, component by component, up to the directory of the last one.
class Walk {
 public:
  Walk(const std::string& path, LastLink last, const std::string& object)
      : last_(last), object_(object) {
    push(path);
  }

  Status run(bool from_root) {
    LAMINA_RETURN_IF_ERROR(start(from_root));
    while (!rest_.empty()) {
      const std::string name = std::move(rest_.back());
      rest_.pop_back();
      LAMINA_RETURN_IF_ERROR(step(name));
      if (!name_.empty()) return {};
    }
    name_ = ".";
    return {};
  }

  /// The result. The name is "." if the path leads to the directory itself; it need not exist.
  Fd& directory() { return directory_; }
  std::string& name() { return name_; }
  /// True if the path ends in a slash.
  [[nodiscard]] bool wants_directory() const { return wants_directory_; }
  /// True if the last component is a link in /proc: the kernel resolves it, and its text may not be
  /// a valid path.
  [[nodiscard]] bool is_kernel_link() const { return is_kernel_link_; }

 private:
  /// Prepends a path to the remaining components, which are stored in reverse order.
  void push(std::string_view path) {
    const bool is_directory = path.ends_with('/') || path == "." || path.ends_with("/.");
    if (rest_.empty() && is_directory) wants_directory_ = true;
    const std::vector<std::string> components = components_of(path);
    rest_.insert(rest_.end(), components.rbegin(), components.rend());
  }

  Status start(bool from_root) {
    const int fd = open_retrying(AT_FDCWD, from_root ? "/" : ".", kOnTheWay, 0);
    if (fd < 0) return system_failure("open", object_, errno);
    trusted_ = true;
    return enter(Fd(fd));
  }

  Status enter(Fd directory) {
    struct stat status{};
    if (::fstat(directory.get(), &status) != 0) return system_failure("fstat", object_, errno);
    directory_ = std::move(directory);
    if (trusted_ && !is_trusted_user(status.st_uid)) {
      trusted_ = false;
      stranger_ = status.st_uid;
    }
    const bool group_writes = (status.st_mode & S_IWGRP) != 0;
    const bool others_write =
        (status.st_mode & S_IWOTH) != 0 || (group_writes && status.st_gid != ::getegid());
    shared_ = group_writes || others_write;
    exchangeable_ = others_write && (status.st_mode & S_ISVTX) == 0;
    return {};
  }

  /// Resolves one component.
  Status step(const std::string& name) {
    const bool is_last = rest_.empty();
    Fd found(open_retrying(directory_.get(), name.c_str(), O_PATH | O_NOFOLLOW, 0));
    if (!found.valid()) {
      if (!is_last || errno != ENOENT) return system_failure("open", object_, errno);
      name_ = name;
      return {};
    }
    struct stat status{};
    if (::fstat(found.get(), &status) != 0) return system_failure("fstat", object_, errno);
    if (S_ISLNK(status.st_mode)) return follow(name, found, status.st_uid, is_last);
    if (is_last) {
      name_ = name;
      return {};
    }
    if (!S_ISDIR(status.st_mode)) return system_failure("open", object_, ENOTDIR);
    return enter(std::move(found));
  }

  Status follow(const std::string& name, const Fd& link, uid_t link_owner, bool is_last) {
    if (is_last && !wants_directory_ && last_ == LastLink::kKeep) {
      name_ = name;
      return {};
    }
    if (is_proc(directory_.get())) return follow_in_proc(name, is_last);
    const bool others_made_it = shared_ && !is_trusted_user(link_owner);
    if (!trusted_ || others_made_it || exchangeable_) {
      return fail(ErrorKind::kFailed,
                  "'{}' leads through '{}', a symbolic link that {} may have created, so it is not "
                  "followed; use the path that it leads to",
                  object_, name,
                  trusted_ && !others_made_it
                      ? "another user"
                      : fmt::format("user {}", trusted_ ? link_owner : stranger_));
    }
    if (++links_ > kMaxLinks) return system_failure("open", object_, ELOOP);
    LAMINA_ASSIGN_OR_RETURN(const std::string target, target_of(link.get(), object_));
    push(target);
    if (target.starts_with('/')) return start(true);
    return {};
  }

  Status follow_in_proc(const std::string& name, bool is_last) {
    if (is_last) {
      name_ = name;
      is_kernel_link_ = true;
      return {};
    }
    Fd opened(open_retrying(directory_.get(), name.c_str(), kOnTheWay, 0));
    if (!opened.valid()) return system_failure("open", object_, errno);
    return enter(std::move(opened));
  }

  LastLink last_;
  const std::string& object_;
  std::vector<std::string> rest_;
  Fd directory_;
  std::string name_;           ///< empty until the last component is reached
  bool trusted_ = true;        ///< all directories so far belong to root or this user
  uid_t stranger_ = 0;         ///< owner of the first directory that does not
  bool shared_ = false;        ///< other users may write to the directory
  bool exchangeable_ = false;  ///< other users may rename files of others in it
  bool wants_directory_ = false;
  bool is_kernel_link_ = false;
  int links_ = 0;
};

Result<Fd> open_walked(const std::string& path, int flags, mode_t mode, const std::string& object) {
  const LastLink last = (flags & (O_EXCL | O_NOFOLLOW)) != 0 ? LastLink::kKeep : LastLink::kFollow;
  Walk walk(path, last, object);
  LAMINA_RETURN_IF_ERROR(walk.run(path.starts_with('/')));
  if (walk.wants_directory() || walk.name() == ".") {
    flags = (flags & ~(O_CREAT | O_EXCL)) | (walk.wants_directory() ? O_DIRECTORY : 0);
  }
  if (!walk.is_kernel_link()) {
    return open_component(walk.directory().get(), walk.name(), flags, mode, object);
  }
  Fd opened(open_retrying(walk.directory().get(), walk.name().c_str(), flags, mode));
  if (!opened.valid()) return system_failure("open", object, errno);
  return opened;
}

Result<ResolvedPath> find_walked(const std::string& path, const std::string& object,
                                 bool follow_kernel_link) {
  Walk walk(path, LastLink::kFollow, object);
  LAMINA_RETURN_IF_ERROR(walk.run(path.starts_with('/')));
  if (walk.is_kernel_link()) {
    const Fd link(
        open_retrying(walk.directory().get(), walk.name().c_str(), O_PATH | O_NOFOLLOW, 0));
    if (!link.valid()) return system_failure("open", object, errno);
    LAMINA_ASSIGN_OR_RETURN(const std::string target, target_of(link.get(), object));
    if (!follow_kernel_link || !target.starts_with('/')) {
      return system_failure("find the name of", object, ENOENT);
    }
    return find_walked(target, object, false);
  }
  if (walk.wants_directory() || walk.name() == "." || walk.name() == "..") {
    return fail(ErrorKind::kUsage, "'{}' is a directory", object);
  }
  auto real = real_path("/proc/self/fd/" + std::to_string(walk.directory().get()));
  if (!real) real = real_path(parent_of(path));  // without /proc
  if (!real) return std::unexpected(std::move(real).error());
  return ResolvedPath{std::move(walk.directory()), std::move(walk.name()), std::move(*real)};
}

/// Fast path: most paths contain no links, and one call opens them. -1 with ENOSYS if the kernel or
/// a seccomp filter does not support openat2(2).
int open_without_links(const std::string& path, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? mode : 0;
  how.resolve = RESOLVE_NO_SYMLINKS;
  while (true) {
    const long fd = ::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof(how));
    if (fd >= 0 || errno != EINTR) return static_cast<int>(fd);
  }
}

}  // namespace

Result<Fd> open_below(int directory, const std::string& name, int flags, mode_t mode,
                      const std::string& object) {
  if (name.find('/') == std::string::npos && name != "..") {
    return open_component(directory, name, flags, mode, object);
  }
  const std::vector<std::string> components = components_of(name);
  const bool leads_out = name.starts_with('/') || components.empty() ||
                         std::find(components.begin(), components.end(), "..") != components.end();
  if (leads_out) {
    return fail(ErrorKind::kFailed, "'{}' leads out of the directory that it should be in", object);
  }
  Fd on_the_way;
  int at = directory;
  for (std::size_t i = 0; i + 1 < components.size(); ++i) {
    LAMINA_ASSIGN_OR_RETURN(Fd next, open_component(at, components[i], kOnTheWay, 0, object));
    on_the_way = std::move(next);
    at = on_the_way.get();
  }
  return open_component(at, components.back(), flags, mode, object);
}

Result<Fd> open_user_path(const std::string& path, int flags, mode_t mode,
                          const std::string& object) {
  const int fd = open_without_links(path, flags, mode);
  if (fd >= 0) return Fd(fd);
  // EINVAL: openat2(2) refuses flags that openat(2) ignores. EPERM: from a seccomp filter, or an
  // error that the walk reports again.
  const int error = errno;
  if (error != ELOOP && error != ENOSYS && error != EPERM && error != EINVAL) {
    return system_failure("open", object, error);
  }
  if (path.empty()) return system_failure("open", object, ENOENT);
  return open_walked(path, flags, mode, object);
}

Result<ResolvedPath> resolve_user_path(const std::string& path) {
  if (path.empty()) return fail(ErrorKind::kUsage, "the path of the file is empty");
  return find_walked(path, path, true);
}

Status check_hard_links(int file, const std::string& path) {
  struct stat status{};
  if (::fstat(file, &status) != 0) return system_failure("fstat", path, errno);
  if (status.st_nlink <= 1) return {};
  const std::string parent = parent_of(path);
  LAMINA_ASSIGN_OR_RETURN(const Fd directory, open_user_path(parent, kOnTheWay, 0, parent));
  struct stat above{};
  if (::fstat(directory.get(), &above) != 0) return system_failure("fstat", parent, errno);
  if (is_trusted_user(above.st_uid) || status.st_uid == above.st_uid) return {};
  return fail(
      ErrorKind::kFailed,
      "'{}' has {} hard links and belongs to user {}, but is in a directory of user {}, who "
      "may have linked it there; copy the file, or use its path in a directory of its owner",
      path, status.st_nlink, status.st_uid, above.st_uid);
}

Result<std::string> real_path(const std::string& path) {
  LAMINA_RETURN_IF_ERROR(open_user_path(path, O_PATH, 0, path));
  const std::unique_ptr<char, FreeMemory> resolved(::realpath(path.c_str(), nullptr));
  if (!resolved) return system_failure("realpath", path, errno);
  return std::string(resolved.get());
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace lamina::os
