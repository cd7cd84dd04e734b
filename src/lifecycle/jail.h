// Files that a jailed VMM must find. The jailer gives the VMM a root directory of its own, so each
// file has two paths: ours, and the VMM's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "store/jail_directory.h"

namespace lamina::lifecycle {

/// The user and group that the VMM runs as.
struct Owner {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

class Jail {
 public:
  /// `root`: the jail's root directory as this process sees it; empty if the VMM has the same root
  /// as this process. kNotFound if it is missing; kUsage if its path is not UTF-8, because it is
  /// written into JSON records.
  static Result<Jail> open(const std::string& root);

  /// True if the VMM has another root directory than this process.
  [[nodiscard]] bool is_apart() const { return !root_.empty(); }
  [[nodiscard]] const std::string& root() const { return root_; }

  /// The VMM's path of a file: `path` is ours, absolute, below the root.
  [[nodiscard]] std::string inside(const std::string& path) const;

  /// kFailed if the process that answers at the API socket has another root: the jail's user can
  /// replace its own socket by a link to another VM's.
  [[nodiscard]] Status check_process(pid_t pid) const;

  /// <root>/lamina-<id>, as this process sees it. Callers record it before it is made, so that it
  /// is removed after a crash, too.
  [[nodiscard]] std::string directory_of(const Uuid& id) const;

  /// Makes directory_of(`id`), durably, which only the owner can access. On failure nothing is left
  /// of it.
  [[nodiscard]] Result<store::JailDirectory> make_directory(const Uuid& id,
                                                            const Owner& owner) const;

  /// Copies a file into a directory of make_directory(), for the owner to read. Shares storage if
  /// the file systems can.
  static Status provide_copy(const std::string& source, const std::string& directory,
                             const std::string& name, const Owner& owner);

  /// The same for a file that is never written again: a hard link, so that all VMs share its page
  /// cache, readable by all who can reach it. On another file system, a copy.
  static Status provide_link(const std::string& source, const std::string& directory,
                             const std::string& name, const Owner& owner);

  /// Gives the socket at `source` a second name in a directory of make_directory(): a hard link; on
  /// another file system a bind mount, which needs privileges.
  static Status provide_socket(const std::string& source, const std::string& directory,
                               const std::string& name);

  /// Removes a directory of make_directory() with its files, bind mounts first. Success if it is
  /// gone already.
  static Status remove_directory(const store::JailDirectory& directory);

 private:
  explicit Jail(std::string root) : root_(std::move(root)) {}

  std::string root_;  ///< absolute, without symbolic links
};

}  // namespace lamina::lifecycle
