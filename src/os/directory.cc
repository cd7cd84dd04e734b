#include "os/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "os/directory_stream.h"
#include "os/file.h"
#include "os/overlay.h"
#include "os/path_walk.h"

namespace lamina::os {
namespace {

/// The path of an open file for linkat(2).
std::string path_by_descriptor(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

/// The error of a failed rename. lamina renames within one file system only, so EXDEV has one of a
/// few causes, which the message explains.
std::unexpected<Error> rename_failure(std::string_view call, int directory,
                                      const std::string& object, int error) {
  Error failure = system_error(call, object, error);
  if (error != EXDEV) return std::unexpected(std::move(failure));
  failure.message +=
      is_in_overlay(directory)
          ? ": the directory is in a lower layer of an overlay, where directories cannot be "
            "renamed; put the store on a file system of its own, or mount the overlay with "
            "redirect_dir=on"
          : ": the two names are in different mounts or quota projects";
  return std::unexpected(std::move(failure));
}

}  // namespace

Result<Fd> open_directory(int directory, const std::string& name, const std::string& object) {
  return open_at(directory, name, O_RDONLY | O_DIRECTORY, object);
}

Result<bool> make_directory(int directory, const std::string& name, const std::string& object) {
  if (::mkdirat(directory, name.c_str(), S_IRWXU) != 0) {
    if (errno == EEXIST) return false;
    return system_failure("mkdir", object, errno);
  }
  struct stat status{};
  if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    // Another process may have removed it meanwhile; the caller's next operation then fails.
    if (errno == ENOENT) return true;
    return system_failure("fstatat", object, errno);
  }
  if ((status.st_mode & S_IRWXU) == S_IRWXU) return true;
  // The umask has removed owner permissions, possibly those needed to open it.
  LAMINA_ASSIGN_OR_RETURN(const Fd made,
                          open_at(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, object));
  if (::chmod(path_by_descriptor(made.get()).c_str(), S_IRWXU) != 0) {
    return system_failure("chmod", object, errno);
  }
  return true;
}

Result<std::vector<std::string>> list_directory(int fd, const std::string& object) {
  // A separate descriptor: the stream takes it over and moves its position.
  LAMINA_ASSIGN_OR_RETURN(Fd own, open_directory(fd, ".", object));
  LAMINA_ASSIGN_OR_RETURN(const DirectoryStream stream, read_directory(std::move(own), object));
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): own stream
    if (entry == nullptr) {
      if (errno != 0) return system_failure("readdir", object, errno);
      break;
    }
    const std::string_view name = static_cast<const char*>(entry->d_name);
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status remove_directory(int directory, const std::string& name, const std::string& object) {
  if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) == 0) return {};
  return system_failure("rmdir", object, errno);
}

Status remove_files(int directory, const std::string& object) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names, list_directory(directory, object));
  for (const std::string& name : names) {
    if (::unlinkat(directory, name.c_str(), 0) == 0) continue;
    static_cast<void>(::unlinkat(directory, name.c_str(), AT_REMOVEDIR));
  }
  return {};
}

Status remove_file(int directory, const std::string& name, const std::string& object) {
  if (::unlinkat(directory, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  return system_failure("unlink", object, errno);
}

// Recursion is as deep as the tree. lamina's own trees have two levels; only files that a user has
// added go deeper.
// NOLINTNEXTLINE(misc-no-recursion)
Status remove_tree(int directory, const std::string& name, const std::string& object) {
  if (::unlinkat(directory, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return system_failure("unlink", object, errno);
  auto opened = open_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, object);
  if (!opened) {
    if (opened.error().kind == ErrorKind::kNotFound) return {};
    return std::unexpected(opened.error());
  }
  LAMINA_ASSIGN_OR_RETURN(const FileFacts above, facts_of(directory, object));
  LAMINA_ASSIGN_OR_RETURN(const FileFacts facts, facts_of(opened->get(), object));
  if (facts.device != above.device || facts.mount != above.mount) {
    return fail(ErrorKind::kFailed, "'{}' is a mount point; unmount it", object);
  }
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          list_directory(opened->get(), object));
  for (const std::string& entry : names) {
    LAMINA_RETURN_IF_ERROR(remove_tree(opened->get(), entry, object + "/" + entry));
  }
  if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  return system_failure("rmdir", object, errno);
}

Status rename_new(int from_directory, const std::string& from, int to_directory,
                  const std::string& to, const std::string& object) {
  if (::renameat2(from_directory, from.c_str(), to_directory, to.c_str(), RENAME_NOREPLACE) == 0) {
    return {};
  }
  if (errno == EINVAL || errno == ENOSYS) {
    if (name_exists(to_directory, to)) return system_failure("rename to", object, EEXIST);
    return rename_over(from_directory, from, to_directory, to, object);
  }
  return rename_failure("rename to", from_directory, object, errno);
}

Status rename_over(int from_directory, const std::string& from, int to_directory,
                   const std::string& to, const std::string& object) {
  if (::renameat(from_directory, from.c_str(), to_directory, to.c_str()) == 0) return {};
  return rename_failure("rename to", from_directory, object, errno);
}

Status replace_file(int directory, const std::string& fresh, const std::string& name,
                    std::span<const std::byte> contents, const std::string& directory_path) {
  const std::string fresh_path = directory_path + "/" + fresh;
  LAMINA_RETURN_IF_ERROR(remove_file(directory, fresh, fresh_path));
  LAMINA_RETURN_IF_ERROR(write_new_file(directory, fresh, contents, fresh_path));
  return rename_over(directory, fresh, directory, name, directory_path + "/" + name);
}

Status rename_exchange(int a_directory, const std::string& a, int b_directory, const std::string& b,
                       const std::string& object) {
  if (::renameat2(a_directory, a.c_str(), b_directory, b.c_str(), RENAME_EXCHANGE) == 0) return {};
  return rename_failure("exchange", b_directory, object, errno);
}

bool name_exists(int directory, const std::string& name) {
  struct stat status{};
  return ::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

bool is_non_directory(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && !S_ISDIR(status.st_mode);
}

std::unexpected<Error> explain_directory_failure(std::string_view what, const std::string& path,
                                                 Error failure) {
  if (failure.kind != ErrorKind::kNotFound) return std::unexpected(std::move(failure));
  if (is_non_directory(path)) {
    return fail(ErrorKind::kNotFound, "{} '{}' is not a directory", what, path);
  }
  return with_remedy(fail(ErrorKind::kNotFound, "{} '{}' does not exist", what, path),
                     "make the directory first: mkdir {}", path);
}

bool is_same_directory(const std::string& a, const std::string& b) {
  struct stat first{};
  struct stat second{};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 &&
         S_ISDIR(first.st_mode) && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool is_symbolic_link(int directory, const std::string& name) {
  struct stat status{};
  return ::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISLNK(status.st_mode);
}

Status replace_symbolic_link(const std::string& target, int directory, const std::string& fresh,
                             const std::string& name, const std::string& object) {
  LAMINA_RETURN_IF_ERROR(remove_file(directory, fresh, object));
  if (::symlinkat(target.c_str(), directory, fresh.c_str()) != 0) {
    return system_failure("symlinkat", object, errno);
  }
  return rename_over(directory, fresh, directory, name, object);
}

std::optional<std::string> target_of_link(int directory, const std::string& name) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlinkat(directory, name.c_str(), target.data(), target.size());
  if (length < 0) return std::nullopt;
  target.resize(static_cast<std::size_t>(length));
  return target;
}

Result<bool> link_descriptor(int fd, int directory, const std::string& name,
                             const std::string& object) {
  const std::string by_descriptor = path_by_descriptor(fd);
  if (::linkat(AT_FDCWD, by_descriptor.c_str(), directory, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
    return true;
  }
  switch (errno) {
    case ENOENT:      // the file is unlinked, or /proc is not mounted
    case EXDEV:       // another file system
    case EMLINK:      // ext4: 65,000 links
    case EPERM:       // a file system without links, or fs.protected_hardlinks
    case EOPNOTSUPP:  // some network file systems
      return false;
    default:
      return system_failure("link", object, errno);
  }
}

bool can_link_descriptor(int fd) { return name_exists(AT_FDCWD, path_by_descriptor(fd)); }

}  // namespace lamina::os
