// Files: open, read, write, size, sync. Every call handles EINTR and short counts. `object` is the
// path as the user knows it, for error messages.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// openat(2) with O_CLOEXEC. Below a directory, symbolic links are not followed. With AT_FDCWD,
/// `name` is a path from the user, and links that another user may have created are not followed
/// (os/path_walk.h). A created file has all of the owner's bits of `mode`, independent of the
/// umask.
Result<Fd> open_at(int directory, const std::string& name, int flags, const std::string& object,
                   mode_t mode = 0600);

/// A second descriptor of the same open file, with O_CLOEXEC.
Result<Fd> duplicate(int fd, const std::string& object);

/// An empty unnamed file in memory (memfd_create(2)). `name` is shown in /proc.
Result<Fd> make_memory_file(const char* name);

/// The fields of fstat(2) and statx(2) that lamina uses.
struct FileFacts {
  std::uint64_t size_bytes = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t mount = 0;  ///< mount id; renames do not cross mounts. 0 before Linux 5.8
  std::uint64_t link_count = 0;
  std::uint64_t allocated_bytes = 0;  ///< st_blocks * 512
  std::int64_t modified_ns = 0;       ///< since the epoch
  std::uint32_t mode = 0;             ///< permission bits
  std::uint32_t user = 0;             ///< owner
  std::uint32_t group = 0;
  std::int64_t born_ns = 0;  ///< since the epoch; 0 if the file system does not record it
  bool is_regular = false;
  bool is_directory = false;
  bool is_symbolic_link = false;  ///< only from facts_of_name()

  [[nodiscard]] bool same_file(const FileFacts& other) const {
    return device == other.device && inode == other.inode;
  }
};

Result<FileFacts> facts_of(int fd, const std::string& object);

/// The same by name (fstatat(2)). Does not follow symbolic links; `mount` stays 0.
Result<FileFacts> facts_of_name(int directory, const std::string& name, const std::string& object);

/// Opens `name` with `flags` and fails if it is not a regular file. A device is not opened at all.
/// With O_CREAT a missing file is created.
struct OpenedFile {
  Fd fd;
  FileFacts facts;
};
Result<OpenedFile> open_regular(int directory, const std::string& name, int flags,
                                const std::string& object);

/// Reads until `buffer` is full or the file ends; returns the number of bytes read.
Result<std::size_t> read_at(int fd, std::span<std::byte> buffer, std::uint64_t offset,
                            const std::string& object);

/// Reads exactly buffer.size() bytes; kCorrupt if the file ends before.
Status read_exactly_at(int fd, std::span<std::byte> buffer, std::uint64_t offset,
                       const std::string& object);

/// Writes all of `buffer`. After a failure, part of it may have been written.
Status write_at(int fd, std::span<const std::byte> buffer, std::uint64_t offset,
                const std::string& object);

/// fchmod(2).
Status set_mode(int fd, std::uint32_t mode, const std::string& object);

/// Makes this process' user the owner of the file. Not an error if it already is.
Status take_ownership(int fd, const std::string& object);

/// fchown(2).
Status set_owner(int fd, std::uint32_t user, std::uint32_t group, const std::string& object);

/// Allocates storage for the file's first `size_bytes`, so that later writes to them cannot run out
/// of space (posix_fallocate(3)). kNoSpace if there is not enough.
Status allocate(int fd, std::uint64_t size_bytes, const std::string& object);

Status truncate(int fd, std::uint64_t size_bytes, const std::string& object);

/// fsync(2). After a failure the file's contents must be rewritten: the kernel may have dropped the
/// dirty pages, so a retry that succeeds proves nothing.
Status sync(int fd, const std::string& object);

/// Frees the storage of [offset, offset + length), which then reads as zeros. Returns false if the
/// file system does not support it.
Result<bool> punch_hole(int fd, std::uint64_t offset, std::uint64_t length,
                        const std::string& object);

/// Free space on the file system of `path` for this user (statvfs(3)).
Result<std::uint64_t> free_bytes(const std::string& path);

/// Reads a small file. kCorrupt if it is larger than `limit_bytes`.
Result<std::vector<std::byte>> read_whole(int fd, std::uint64_t limit_bytes,
                                          const std::string& object);

/// Reads a small regular file; nullopt if it does not exist.
Result<std::optional<std::vector<std::byte>>> read_if_exists(int directory, const std::string& name,
                                                             std::uint64_t limit_bytes,
                                                             const std::string& object);

/// Creates `name` (which must not exist), writes `contents`, syncs it.
Status write_new_file(int directory, const std::string& name, std::span<const std::byte> contents,
                      const std::string& object);

}  // namespace lamina::os
