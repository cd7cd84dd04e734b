// A directory that an operation writes, which gets its name when it is complete and on the disk.
#pragma once

#include <optional>
#include <string>

#include "lamina/result.h"
#include "operations/output_place.h"
#include "os/fd.h"

namespace lamina::operations {

/// Until publish() it is called ".NAME.<random UUID>", beside its later name. Without publish(),
/// nothing is left of it, unless the process is killed: then that name is. Not thread-safe.
class OutputDirectory {
 public:
  /// Makes a new directory (mode 0700) for `path`, which must not exist; slashes at its end are
  /// ignored. `what` it is, for messages. kUsage: `path` cannot name a directory; kNotFound: the
  /// directory around it; kExists.
  static Result<OutputDirectory> create(const std::string& path, const char* what);

  OutputDirectory(OutputDirectory&& other) noexcept;
  OutputDirectory& operator=(OutputDirectory&&) = delete;
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;
  ~OutputDirectory();

  [[nodiscard]] int fd() const { return directory_.get(); }
  /// The path that it will have.
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Syncs the directory, gives it its name, and syncs the directory around it. REQUIRES: all that
  /// is in it is synced. kExists: the name was taken meanwhile. After a failure of the last sync
  /// only, the directory exists.
  Status publish();

 private:
  OutputDirectory() = default;

  std::string path_;
  OutputPlace place_;
  os::Fd directory_;
  std::optional<std::string> temporary_;  ///< its name until it is published
};

}  // namespace lamina::operations
