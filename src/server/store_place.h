// The served store's directory, held by descriptor: it may be renamed while VMs run, and another
// directory may get its name.
#pragma once

#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::server {

class StorePlace {
 public:
  /// kNotFound if there is no such directory.
  static Result<StorePlace> open(const std::string& path);

  /// A directory that a predecessor had open. `path` (absolute) is its last known path.
  StorePlace(std::string path, os::Fd directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}

  [[nodiscard]] int fd() const { return directory_.get(); }

  /// The current absolute path of this directory.
  [[nodiscard]] std::string path() const;

 private:
  std::string path_;
  os::Fd directory_;
};

}  // namespace lamina::server
