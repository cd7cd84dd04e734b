#include "operations/snapshot_files.h"

#include <fcntl.h>

#include <utility>

#include "base/error.h"
#include "os/directory.h"

namespace lamina::operations {
namespace {

using store::OpenSnapshot;

/// How often a snapshot is opened anew if it is replaced meanwhile.
constexpr int kSnapshotOpenAttempts = 20;

Result<SnapshotFile> open_file(const OpenSnapshot& snapshot, const std::string& name,
                               const char* done_to_it) {
  SnapshotFile file;
  file.name = name;
  file.path = snapshot.path + "/" + name;
  auto opened = os::open_regular(snapshot.directory.get(), name, O_RDONLY | O_NOFOLLOW, file.path);
  if (!opened) {
    if (opened.error().kind == ErrorKind::kNotFound) return std::unexpected(opened.error());
    return std::unexpected(with_context(
        fmt::format("'{}' in snapshot '{}' cannot be {} (only files can); move it out of the "
                    "snapshot first",
                    name, snapshot.path, done_to_it),
        opened.error()));
  }
  file.opened = std::move(*opened);
  return file;
}

Result<std::vector<SnapshotFile>> open_files(const OpenSnapshot& snapshot,
                                             const std::function<bool(const std::string&)>& wanted,
                                             const char* done_to_it) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(snapshot.directory.get(), snapshot.path));
  std::vector<SnapshotFile> files;
  files.reserve(names.size());
  for (const std::string& name : names) {
    if (!wanted(name)) continue;
    auto file = open_file(snapshot, name, done_to_it);
    if (file) {
      files.push_back(std::move(*file));
      continue;
    }
    // A working set is a hint, and may go at any time.
    const bool gone = file.error().kind == ErrorKind::kNotFound;
    if (!gone || name != store::kWorkingSetName) return std::unexpected(file.error());
  }
  return files;
}

}  // namespace

// The files of a replaced snapshot are removed one by one, and may have been missing when they were
// listed: then the new one is opened.
Result<SnapshotWithFiles> open_with_files(const std::string& path,
                                          const std::function<bool(const std::string&)>& wanted,
                                          const char* done_to_it) {
  for (int attempt = 1;; ++attempt) {
    LAMINA_ASSIGN_OR_RETURN(OpenSnapshot snapshot, store::open_snapshot(path));
    auto files = open_files(snapshot, wanted, done_to_it);
    LAMINA_ASSIGN_OR_RETURN(const bool replaced, store::was_replaced(snapshot));
    if (!replaced) {
      if (!files) return std::unexpected(files.error());
      return SnapshotWithFiles{std::move(snapshot), std::move(*files)};
    }
    if (attempt == kSnapshotOpenAttempts) {
      return fail(ErrorKind::kBusy,
                  "snapshot '{}' was replaced again and again while it was opened; try again",
                  path);
    }
  }
}

}  // namespace lamina::operations
