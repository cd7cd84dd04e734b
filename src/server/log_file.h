// The page server's log file (its standard output and error). It is reopened after a rotation, and
// the store's own log is rotated by the server when it becomes too large.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::server {

class LogFile {
 public:
  /// The current standard error. A file with a name can be reopened. A pipe, a terminal, the
  /// journal's socket, and a file in the directory of another user but root are left alone.
  static LogFile of_stderr();

  /// The log file of a predecessor.
  LogFile(std::string name, os::Fd directory)
      : name_(std::move(name)), directory_(std::move(directory)) {}

  /// For a successor: the file's name in directory(); empty: there is none.
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int directory() const { return directory_.get(); }

  /// Opens the file by its name, or creates it if it was moved away, and logs to it from now on.
  /// Does nothing if there is no file.
  [[nodiscard]] Status reopen() const;

  /// If the file has more than `bytes`, renames it to <name>.1, replacing an older one, and logs to
  /// a new file. True if it did.
  [[nodiscard]] bool rotate_if_larger(std::uint64_t bytes) const;

  /// Whether this is file `name` of the directory behind `directory`.
  [[nodiscard]] bool is_in(int directory, const std::string& name) const;

 private:
  LogFile() = default;

  std::string name_;
  os::Fd directory_;
};

}  // namespace lamina::server
