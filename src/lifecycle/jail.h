// The two names of a file when the VMM runs in a root directory of its own, as the jailer gives it:
// ours and the one that the VMM is told.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "store/jail_directory.h"

namespace lamina::lifecycle {

/// Who the files are for.
struct Owner {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

class Jail {
 public:
  /// `root` as this process sees it, empty for a VMM that sees the same files. kNotFound when it is
  /// missing; kUsage when its path is not UTF-8, for it is put on record.
  static Result<Jail> open(const std::string& root);

  /// True when the VMM sees other paths than we.
  [[nodiscard]] bool is_apart() const { return !root_.empty(); }
  [[nodiscard]] const std::string& root() const { return root_; }

  /// The VMM's path of a file of ours that it can reach: `path` absolute, below the root.
  [[nodiscard]] std::string inside(const std::string& path) const;

  /// kFailed when the process that answers for the VM has another root: a jail's user may put a
  /// link to another VM's socket in the place of its own.
  [[nodiscard]] Status check_process(pid_t pid) const;

  /// <root>/lamina-<id>, as we see it: put on record before it is made, so that it is removed
  /// whatever happens.
  [[nodiscard]] std::string directory_of(const Uuid& id) const;

  /// Makes directory_of(`id`), the owner's alone, durably, and says which it is. Nothing is left of
  /// it on failure.
  [[nodiscard]] Result<store::JailDirectory> make_directory(const Uuid& id,
                                                            const Owner& owner) const;

  /// Gives the owner, in a directory of make_directory(), a copy of a file that it may read. Shares
  /// storage where the file systems can.
  static Status give_copy(const std::string& source, const std::string& directory,
                          const std::string& name, const Owner& owner);

  /// The same for a file that is never written again: a hard link that everybody may read who can
  /// reach it, so that all VMs share its page cache; where a link does not reach, a copy.
  static Status give_link(const std::string& source, const std::string& directory,
                          const std::string& name, const Owner& owner);

  /// Gives the socket at `source` a second name in a directory of make_directory(): a hard link, or
  /// where that does not reach a bind mount (which needs privileges).
  static Status give_socket(const std::string& source, const std::string& directory,
                            const std::string& name);

  /// Removes a directory of make_directory() with the files in it, bind mounts first. What is gone
  /// is no error.
  static Status remove_directory(const store::JailDirectory& directory);

 private:
  explicit Jail(std::string root) : root_(std::move(root)) {}

  std::string root_;  ///< absolute, without symbolic links
};

}  // namespace lamina::lifecycle
