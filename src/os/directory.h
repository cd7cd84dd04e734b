// Directories: create, list, remove, and the renames that publish snapshots.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Opens a directory. Follows symbolic links as open_at() does.
Result<Fd> open_directory(int directory, const std::string& name, const std::string& object);

/// mkdirat(2) with mode 0700, independent of the umask. Returns false if the name already exists.
Result<bool> make_directory(int directory, const std::string& name, const std::string& object);

/// The names in a directory, without "." and "..", sorted.
Result<std::vector<std::string>> list_directory(int fd, const std::string& object);

/// Removes `name` below `directory` and everything in it. Never follows symbolic links, and fails
/// at a mount point without touching the mounted files. A missing name is not an error.
Status remove_tree(int directory, const std::string& name, const std::string& object);

/// Removes the files and the empty directories in a directory. Directories that are not empty stay,
/// and `directory` can then not be removed. Not recursive: another user may have nested them
/// deeply.
Status remove_files(int directory, const std::string& object);

/// Removes an empty directory.
Status remove_directory(int directory, const std::string& name, const std::string& object);

/// unlinkat(2); a missing file is not an error.
Status remove_file(int directory, const std::string& name, const std::string& object);

/// Renames; fails (kFailed, "already exists") if `to` exists. File systems without RENAME_NOREPLACE
/// are checked for an existing target first, which is safe because callers hold the name's lock.
Status rename_new(int from_directory, const std::string& from, int to_directory,
                  const std::string& to, const std::string& object);

/// Renames a file, replacing any file called `to`.
Status rename_over(int from_directory, const std::string& from, int to_directory,
                   const std::string& to, const std::string& object);

/// Atomically replaces the file `name` by one with `contents`, which is first written to `fresh` in
/// the same directory. Syncs the file, but not the directory.
Status replace_file(int directory, const std::string& fresh, const std::string& name,
                    std::span<const std::byte> contents, const std::string& directory_path);

/// Exchanges two names atomically (RENAME_EXCHANGE).
Status rename_exchange(int a_directory, const std::string& a, int b_directory, const std::string& b,
                       const std::string& object);

/// True if `name` exists below `directory`. Does not follow symbolic links.
bool name_exists(int directory, const std::string& name);

/// True if `path` exists and is not a directory. Follows symbolic links.
bool is_non_directory(const std::string& path);

/// The failure to open the directory `path`, which is a `what`. If it is missing, the message says
/// that and the remedy is to make it; if something else has that name, the message says that.
std::unexpected<Error> explain_directory_failure(std::string_view what, const std::string& path,
                                                 Error failure);

/// True if both paths lead to the same directory. False if either cannot be examined.
bool is_same_directory(const std::string& a, const std::string& b);

/// True if `name` is a symbolic link.
bool is_symbolic_link(int directory, const std::string& name);

/// Atomically replaces `name` by a symbolic link to `target`, which is first created as `fresh` in
/// the same directory. A leftover `fresh` is replaced. Syncs nothing.
Status replace_symbolic_link(const std::string& target, int directory, const std::string& fresh,
                             const std::string& name, const std::string& object);

/// Target of the symbolic link `name`; nullopt if there is none or it cannot be read.
std::optional<std::string> target_of_link(int directory, const std::string& name);

/// Creates `name` as a hard link to the file behind `fd`. False if the file system, its link limit,
/// the ownership rules or the file's state (already unlinked) do not allow a link; then copy the
/// file.
Result<bool> link_descriptor(int fd, int directory, const std::string& name,
                             const std::string& object);

/// False if link_descriptor() cannot work because /proc is not mounted. (AT_EMPTY_PATH does not
/// need /proc, but needs a capability.)
bool can_link_descriptor(int fd);

}  // namespace lamina::os
