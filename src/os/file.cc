#include "os/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/error.h"
#include "os/clock.h"
#include "os/path_walk.h"

namespace lamina::os {
namespace {

/// Largest single transfer; the kernel's limit is 2 GiB less one page.
constexpr std::size_t kMaxTransferBytes = std::size_t{1} << 30;

/// Clamps times that 64 bits of nanoseconds cannot represent (before 1677, after 2262).
std::int64_t nanoseconds_of(const timespec& time) {
  constexpr std::int64_t kMaxSeconds =
      std::numeric_limits<std::int64_t>::max() / kNanosecondsPerSecond - 1;
  const std::int64_t seconds = std::clamp<std::int64_t>(time.tv_sec, -kMaxSeconds, kMaxSeconds);
  return seconds * kNanosecondsPerSecond + time.tv_nsec;
}

FileFacts facts_from(const struct stat& status, std::uint64_t mount) {
  return FileFacts{
      .size_bytes = static_cast<std::uint64_t>(status.st_size),
      .device = status.st_dev,
      .inode = status.st_ino,
      .mount = mount,
      .link_count = status.st_nlink,
      .allocated_bytes = static_cast<std::uint64_t>(status.st_blocks) * 512,
      .modified_ns = nanoseconds_of(status.st_mtim),
      .mode = status.st_mode & 07777U,
      .user = status.st_uid,
      .group = status.st_gid,
      .is_regular = S_ISREG(status.st_mode),
      .is_directory = S_ISDIR(status.st_mode),
      .is_symbolic_link = S_ISLNK(status.st_mode),
  };
}

}  // namespace

void Fd::reset() {
  // EINTR from close(2) on Linux still closes: never retried.
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<Fd> open_at(int directory, const std::string& name, int flags, const std::string& object,
                   mode_t mode) {
  LAMINA_ASSIGN_OR_RETURN(Fd fd, directory == AT_FDCWD
                                     ? open_user_path(name, flags, mode, object)
                                     : open_below(directory, name, flags, mode, object));
  if ((flags & O_CREAT) == 0) return fd;
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return system_failure("fstat", object, errno);
  const mode_t needed = mode & (S_IRUSR | S_IWUSR);
  if ((status.st_mode & needed) != needed && status.st_uid == ::geteuid()) {
    LAMINA_RETURN_IF_ERROR(set_mode(fd.get(), mode, object));
  }
  return fd;
}

Result<Fd> duplicate(int fd, const std::string& object) {
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return system_failure("dup", object, errno);
  return copy;
}

Result<FileFacts> facts_of(int fd, const std::string& object) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return system_failure("fstat", object, errno);
  struct statx extended{};
  const bool has_more = ::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID | STATX_BTIME, &extended) == 0;
  const auto has = [&](unsigned what) { return has_more && (extended.stx_mask & what) != 0; };
  FileFacts facts = facts_from(status, has(STATX_MNT_ID) ? extended.stx_mnt_id : 0);
  if (has(STATX_BTIME)) {
    facts.born_ns = extended.stx_btime.tv_sec * kNanosecondsPerSecond + extended.stx_btime.tv_nsec;
  }
  return facts;
}

Result<FileFacts> facts_of_name(int directory, const std::string& name, const std::string& object) {
  struct stat status{};
  if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return system_failure("fstatat", object, errno);
  }
  return facts_from(status, 0);
}

Result<OpenedFile> open_regular(int directory, const std::string& name, int flags,
                                const std::string& object) {
  const auto refuse = [&](bool is_directory) {
    return fail(ErrorKind::kFailed, "'{}' is a {}, not a file", object,
                is_directory ? "directory" : "device, socket or pipe");
  };
  // Opening a device can have effects: opening a watchdog starts it.
  struct stat status{};
  const int follow = directory == AT_FDCWD ? 0 : AT_SYMLINK_NOFOLLOW;
  if (::fstatat(directory, name.c_str(), &status, follow) == 0 && !S_ISREG(status.st_mode) &&
      !S_ISLNK(status.st_mode)) {
    return refuse(S_ISDIR(status.st_mode));
  }
  OpenedFile opened;
  // O_NONBLOCK: if a FIFO or a device has just replaced the file, the open must not hang.
  LAMINA_ASSIGN_OR_RETURN(opened.fd, open_at(directory, name, flags | O_NONBLOCK, object));
  LAMINA_ASSIGN_OR_RETURN(opened.facts, facts_of(opened.fd.get(), object));
  if (!opened.facts.is_regular) return refuse(opened.facts.is_directory);
  if (directory == AT_FDCWD && opened.facts.link_count > 1) {
    LAMINA_RETURN_IF_ERROR(check_hard_links(opened.fd.get(), name));
  }
  return opened;
}

Result<Fd> make_memory_file(const char* name) {
  const int fd = ::memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) return system_failure("memfd_create", name, errno);
  return Fd(fd);
}

Result<std::size_t> read_at(int fd, std::span<std::byte> buffer, std::uint64_t offset,
                            const std::string& object) {
  std::size_t done = 0;
  while (done < buffer.size()) {
    const auto rest = buffer.subspan(done, std::min(buffer.size() - done, kMaxTransferBytes));
    const ssize_t count = ::pread(fd, rest.data(), rest.size(), static_cast<off_t>(offset + done));
    if (count < 0) {
      if (errno == EINTR) continue;
      return system_failure("read", object, errno);
    }
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

Status read_exactly_at(int fd, std::span<std::byte> buffer, std::uint64_t offset,
                       const std::string& object) {
  LAMINA_ASSIGN_OR_RETURN(const std::size_t count, read_at(fd, buffer, offset, object));
  if (count != buffer.size()) {
    return fail(ErrorKind::kCorrupt, "'{}' ends at {:#x}, before {:#x}: it is truncated", object,
                offset + count, offset + buffer.size());
  }
  return {};
}

Status write_at(int fd, std::span<const std::byte> buffer, std::uint64_t offset,
                const std::string& object) {
  std::size_t done = 0;
  while (done < buffer.size()) {
    const auto rest = buffer.subspan(done, std::min(buffer.size() - done, kMaxTransferBytes));
    const ssize_t count = ::pwrite(fd, rest.data(), rest.size(), static_cast<off_t>(offset + done));
    if (count < 0) {
      if (errno == EINTR) continue;
      return system_failure("write", object, errno);
    }
    if (count == 0) return system_failure("write", object, EIO);
    done += static_cast<std::size_t>(count);
  }
  return {};
}

Status set_mode(int fd, std::uint32_t mode, const std::string& object) {
  if (::fchmod(fd, mode) != 0) return system_failure("chmod", object, errno);
  return {};
}

Status take_ownership(int fd, const std::string& object) {
  return set_owner(fd, ::geteuid(), ::getegid(), object);
}

Status set_owner(int fd, std::uint32_t user, std::uint32_t group, const std::string& object) {
  if (::fchown(fd, user, group) == 0) return {};
  return system_failure("chown", object, errno);
}

Status allocate(int fd, std::uint64_t size_bytes, const std::string& object) {
  int error = 0;
  do {
    error = ::posix_fallocate(fd, 0, static_cast<off_t>(size_bytes));
  } while (error == EINTR);
  if (error == 0) return {};
  return system_failure("allocate", object, error);
}

Status truncate(int fd, std::uint64_t size_bytes, const std::string& object) {
  while (::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) {
    if (errno != EINTR) return system_failure("truncate", object, errno);
  }
  return {};
}

Status sync(int fd, const std::string& object) {
  while (::fsync(fd) != 0) {
    if (errno != EINTR) return system_failure("fsync", object, errno);
  }
  return {};
}

Result<bool> punch_hole(int fd, std::uint64_t offset, std::uint64_t length,
                        const std::string& object) {
  while (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(length)) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return false;
    return system_failure("punch hole", object, errno);
  }
  return true;
}

Result<std::uint64_t> free_bytes(const std::string& path) {
  struct statvfs facts{};
  while (::statvfs(path.c_str(), &facts) != 0) {
    if (errno != EINTR) return system_failure("statvfs", path, errno);
  }
  return std::uint64_t{facts.f_bavail} * facts.f_frsize;
}

Result<std::vector<std::byte>> read_whole(int fd, std::uint64_t limit_bytes,
                                          const std::string& object) {
  LAMINA_ASSIGN_OR_RETURN(const FileFacts facts, facts_of(fd, object));
  if (facts.size_bytes > limit_bytes) {
    return fail(ErrorKind::kCorrupt, "'{}' has {} bytes; at most {} are read", object,
                facts.size_bytes, limit_bytes);
  }
  std::vector<std::byte> contents(facts.size_bytes);
  LAMINA_RETURN_IF_ERROR(read_exactly_at(fd, contents, 0, object));
  return contents;
}

Result<std::optional<std::vector<std::byte>>> read_if_exists(int directory, const std::string& name,
                                                             std::uint64_t limit_bytes,
                                                             const std::string& object) {
  const auto opened = open_regular(directory, name, O_RDONLY, object);
  if (!opened) {
    if (opened.error().kind == ErrorKind::kNotFound) return std::nullopt;
    return std::unexpected(opened.error());
  }
  LAMINA_ASSIGN_OR_RETURN(std::vector<std::byte> bytes,
                          read_whole(opened->fd.get(), limit_bytes, object));
  return std::optional(std::move(bytes));
}

Status write_new_file(int directory, const std::string& name, std::span<const std::byte> contents,
                      const std::string& object) {
  LAMINA_ASSIGN_OR_RETURN(const Fd fd,
                          open_at(directory, name, O_WRONLY | O_CREAT | O_EXCL, object));
  LAMINA_RETURN_IF_ERROR(write_at(fd.get(), contents, 0, object));
  return sync(fd.get(), object);
}

}  // namespace lamina::os
