// A file that an operation writes, which gets its name when it is complete and on the disk.
#pragma once

#include <optional>
#include <string>

#include "lamina/result.h"
#include "operations/output_place.h"
#include "os/fd.h"

namespace lamina::operations {

/// Without publish(), nothing is left of the file. Not thread-safe.
class OutputFile {
 public:
  /// Opens a new file for `path`, which must not exist. `what` it is, for messages: "a memory
  /// file". kUsage: `path` cannot name a file; kNotFound: its directory; kExists.
  static Result<OutputFile> create(const std::string& path, const char* what);

  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  [[nodiscard]] int fd() const { return file_.get(); }

  /// Syncs the file, gives it its name, and syncs the directory. kExists: the name was taken
  /// meanwhile. After a failure of the last sync only, the file exists.
  Status publish();

 private:
  OutputFile() = default;

  Status open_file();
  Status give_name();

  std::string path_;
  OutputPlace place_;
  os::Fd file_;
  std::optional<std::string> temporary_;  ///< its temporary name; absent: it has none
};

}  // namespace lamina::operations
