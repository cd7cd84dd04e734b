// Directories: make, list, remove, and the renames by which snapshots are published.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Opens a directory for use by descriptor. Links are followed as open_at() does.
Result<Fd> open_directory(int directory, const std::string& name, const std::string& object);

/// mkdirat(2), mode 0700 whatever the umask. What exists is kept; false is returned then.
Result<bool> make_directory(int directory, const std::string& name, const std::string& object);

/// The names in a directory, without "." and "..", sorted.
Result<std::vector<std::string>> list_directory(int fd, const std::string& object);

/// Removes `name` below `directory` with all that is in it. Never follows symbolic links, and fails
/// at a mount point before it touches what is mounted. What is already gone is no error.
Status remove_tree(int directory, const std::string& name, const std::string& object);

/// Removes the files in a directory, and empty directories in it. Others stay, however deep those
/// who may write to it have made them; the directory cannot be removed then.
Status remove_files(int directory, const std::string& object);

/// Removes an empty directory.
Status remove_directory(int directory, const std::string& name, const std::string& object);

/// unlinkat(2); what is already gone is no error.
Status remove_file(int directory, const std::string& name, const std::string& object);

/// Renames; fails (kFailed, "already exists") when `to` exists, also on file systems without
/// RENAME_NOREPLACE (there an existing target is checked first; names are locked by our callers).
Status rename_new(int from_directory, const std::string& from, int to_directory,
                  const std::string& to, const std::string& object);

/// Renames over what is there: for files.
Status rename_over(int from_directory, const std::string& from, int to_directory,
                   const std::string& to, const std::string& object);

/// Puts a file with `contents` in the place of `name`, by way of `fresh` beside it: whatever
/// happens there is the old one or the new one, whole. The file is synced, the directory is not.
Status replace_file(int directory, const std::string& fresh, const std::string& name,
                    std::span<const std::byte> contents, const std::string& directory_path);

/// Exchanges two names in one atomic step (RENAME_EXCHANGE).
Status rename_exchange(int a_directory, const std::string& a, int b_directory, const std::string& b,
                       const std::string& object);

/// True when `name` exists below `directory` (symbolic links are not followed).
bool name_exists(int directory, const std::string& name);

/// True when `path` leads to something that is no directory (symbolic links are followed).
bool is_no_directory(const std::string& path);

/// True when both paths lead to one directory. False also when one of them cannot be looked at.
bool is_same_directory(const std::string& a, const std::string& b);

/// True when `name` is a symbolic link.
bool is_symbolic_link(int directory, const std::string& name);

/// Puts a symbolic link to `target` in the place of `name`, by way of `fresh` beside it, which may
/// be left of an earlier attempt: in one step, whatever has the name. Nothing is synced.
Status replace_symbolic_link(const std::string& target, int directory, const std::string& fresh,
                             const std::string& name, const std::string& object);

/// Where the symbolic link `name` leads; nothing when there is none, or it cannot be read.
std::optional<std::string> target_of_link(int directory, const std::string& name);

/// Gives the file behind `fd` the new name `name`. False when the file system, its link limit, the
/// ownership rules or the file's own state (already unlinked) do not allow a link: copy it then.
Result<bool> link_descriptor(int fd, int directory, const std::string& name,
                             const std::string& object);

/// False when link_descriptor() cannot link anything, as there is no /proc. (AT_EMPTY_PATH would do
/// without, but asks for a capability.)
bool can_link_descriptor(int fd);

}  // namespace lamina::os
