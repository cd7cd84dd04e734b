// The directory of the store that is served, by descriptor: it may be renamed while VMs run, and
// another one may get its name.
#pragma once

#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::server {

class StorePlace {
 public:
  /// kNotFound when there is no such directory.
  static Result<StorePlace> open(const std::string& path);

  /// That of a predecessor, wherever it is by now. `path` is absolute: where it was.
  StorePlace(std::string path, os::Fd directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}

  [[nodiscard]] int fd() const { return directory_.get(); }

  /// A path that leads to this very directory now; absolute.
  [[nodiscard]] std::string path() const;

 private:
  std::string path_;
  os::Fd directory_;
};

}  // namespace lamina::server
