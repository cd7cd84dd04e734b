// Files: open, whole reads and writes, sizes, syncs. Every call handles EINTR and short counts and
// names the object it failed on. `object` is always the path as the user knows it.
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

/// openat(2) with O_CLOEXEC. Below a directory no symbolic link is followed; with AT_FDCWD `name`
/// is a path as the caller gave it, and links that somebody else can have made are not
/// (os/path_walk.h). What is made has all of `mode` that the owner needs, whatever the umask.
/// `object` is for the error only.
Result<Fd> open_at(int directory, const std::string& name, int flags, const std::string& object,
                   mode_t mode = 0600);

/// Another descriptor of the same open file, closed by exec(3).
Result<Fd> duplicate(int fd, const std::string& object);

/// An empty file in memory that has no name (memfd_create(2)). `name` is shown in /proc.
Result<Fd> make_memory_file(const char* name);

/// What fstat(2) says, as far as lamina asks.
struct FileFacts {
  std::uint64_t size_bytes = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t mount = 0;  ///< id of the mount; renames do not cross mounts. 0 before Linux 5.8
  std::uint64_t link_count = 0;
  std::uint64_t allocated_bytes = 0;  ///< st_blocks * 512
  std::int64_t modified_ns = 0;       ///< since the epoch
  std::uint32_t mode = 0;             ///< permission bits
  std::uint32_t user = 0;             ///< whose it is
  std::uint32_t group = 0;
  std::int64_t born_ns = 0;  ///< since the epoch; 0 where the file system does not keep it
  bool is_regular = false;
  bool is_directory = false;
  bool is_symbolic_link = false;  ///< only facts_of_name() can meet one

  [[nodiscard]] bool same_file(const FileFacts& other) const {
    return device == other.device && inode == other.inode;
  }
};

Result<FileFacts> facts_of(int fd, const std::string& object);

/// What fstatat(2) says of a name that is not opened; symbolic links are not followed, and `mount`
/// stays 0.
Result<FileFacts> facts_of_name(int directory, const std::string& name, const std::string& object);

/// Opens `path` for reading (or `flags`) and refuses what is no regular file; a device is not even
/// opened. With O_CREAT the file is made when there is none.
struct OpenedFile {
  Fd fd;
  FileFacts facts;
};
Result<OpenedFile> open_regular(int directory, const std::string& name, int flags,
                                const std::string& object);

/// Reads until `buffer` is full or the file ends; returns the bytes read.
Result<std::size_t> read_at(int fd, std::span<std::byte> buffer, std::uint64_t offset,
                            const std::string& object);

/// Reads exactly buffer.size() bytes; an earlier end of the file is kCorrupt.
Status read_exactly_at(int fd, std::span<std::byte> buffer, std::uint64_t offset,
                       const std::string& object);

/// Writes all of `buffer`. On failure part of it may have been written.
Status write_at(int fd, std::span<const std::byte> buffer, std::uint64_t offset,
                const std::string& object);

/// fchmod(2).
Status set_mode(int fd, std::uint32_t mode, const std::string& object);

/// Makes the file this process' user's. Without the privilege to do so the owner stays, which is
/// no error where it is the own one.
Status take_ownership(int fd, const std::string& object);

/// fchown(2).
Status set_owner(int fd, std::uint32_t user, std::uint32_t group, const std::string& object);

/// Gives the file's first `size_bytes` storage, so that later writes to them find space
/// (posix_fallocate(3)). kNoSpace when there is not that much.
Status allocate(int fd, std::uint64_t size_bytes, const std::string& object);

Status truncate(int fd, std::uint64_t size_bytes, const std::string& object);

/// fsync(2). After a failure the file's contents must be written anew: the kernel may have dropped
/// the dirty pages, so retrying the fsync proves nothing.
Status sync(int fd, const std::string& object);

/// Frees the storage of [offset, offset + length); reads as zeros afterwards. A file system that
/// cannot is not an error: nothing is freed then and false is returned.
Result<bool> punch_hole(int fd, std::uint64_t offset, std::uint64_t length,
                        const std::string& object);

/// What the file system of `path` has left for this user (statvfs(3)).
Result<std::uint64_t> free_bytes(const std::string& path);

/// The whole of a small file. Larger than `limit_bytes` is kCorrupt.
Result<std::vector<std::byte>> read_whole(int fd, std::uint64_t limit_bytes,
                                          const std::string& object);

/// The whole of a small regular file; nothing when there is none.
Result<std::optional<std::vector<std::byte>>> read_if_there(int directory, const std::string& name,
                                                            std::uint64_t limit_bytes,
                                                            const std::string& object);

/// Creates `name` (which must not exist), writes `contents`, syncs it.
Status write_new_file(int directory, const std::string& name, std::span<const std::byte> contents,
                      const std::string& object);

}  // namespace lamina::os
