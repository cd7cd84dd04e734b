// Where an export makes its builds, and how they get their names.
//
// Each build is made in DIR/.lamina-export-<id>/<build id>/. When all of them are on the disk, they
// are renamed to DIR/<build id>, that with the header last. An export that is killed leaves its
// directory without a lock; the next export removes it.
#pragma once

#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "os/lock.h"

namespace lamina::e2b {

/// Not thread-safe.
class ExportDirectory {
 public:
  /// Makes a directory in `path`, which must exist, and removes what killed exports have left.
  static Result<ExportDirectory> create(const std::string& path, std::vector<std::string>& notes);

  ExportDirectory(ExportDirectory&&) noexcept = default;
  ExportDirectory& operator=(ExportDirectory&&) = delete;
  ExportDirectory(const ExportDirectory&) = delete;
  ExportDirectory& operator=(const ExportDirectory&) = delete;
  /// Removes the builds that have no name yet.
  ~ExportDirectory();

  /// The directory of a new build.
  Result<os::Fd> add_build(const Uuid& build);
  /// Its path, for messages.
  [[nodiscard]] std::string path_of(const Uuid& build) const;

  /// True if DIR has a directory of that name.
  [[nodiscard]] bool has_build(const Uuid& build) const;

  /// True if DIR/<build> has an object `name` with the same bytes as the new one. False: DIR has no
  /// such build. kExists: it has one with something else.
  Result<bool> has_same_object(const Uuid& build, const std::string& name) const;

  /// Names the builds in this order, and syncs the directories. Their files have been synced.
  /// kExists: a name was taken meanwhile.
  Status publish(const std::vector<Uuid>& builds);

 private:
  ExportDirectory() = default;

  Result<bool> make();

  std::string path_;
  std::string name_;
  os::Fd directory_;
  os::LockedFd own_;
};

}  // namespace lamina::e2b
