// The file that a page server writes its log to (its standard error, and output): opened anew after
// a rotation, and kept from growing without end.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::server {

class LogFile {
 public:
  /// What standard error is now. A file with a name can be opened anew; a pipe, a terminal or the
  /// journal's socket is left alone, and so is a file in another user's directory (not root's).
  static LogFile of_stderr();

  /// That of a predecessor.
  LogFile(std::string name, os::Fd directory)
      : name_(std::move(name)), directory_(std::move(directory)) {}

  /// For a successor: the file's name in directory(); empty: there is none.
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int directory() const { return directory_.get(); }

  /// Opens the file by its name, makes it when it was moved away, and goes on in it.
  /// Nothing happens without a file.
  [[nodiscard]] Status reopen() const;

  /// Moves the file to <name>.1, in the place of an older one, when it has more bytes, and goes on
  /// in a new one. True when it has done so.
  [[nodiscard]] bool rotate_if_larger(std::uint64_t bytes) const;

  /// Whether this is file `name` of the directory behind `directory`.
  [[nodiscard]] bool is_in(int directory, const std::string& name) const;

 private:
  LogFile() = default;

  std::string name_;
  os::Fd directory_;
};

}  // namespace lamina::server
