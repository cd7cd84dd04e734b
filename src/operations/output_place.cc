#include "operations/output_place.h"

#include <fcntl.h>

#include "base/error.h"
#include "os/directory.h"
#include "os/path_walk.h"

namespace lamina::operations {

Result<OutputPlace> open_output_place(const std::string& path, const char* what) {
  OutputPlace place;
  place.name = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
  place.directory_path = os::parent_of(path);
  if (place.name.empty() || place.name == "." || place.name == "..") {
    return fail(ErrorKind::kUsage, "'{}' cannot name {}", path, what);
  }
  auto directory = os::open_directory(AT_FDCWD, place.directory_path, place.directory_path);
  if (!directory) {
    return os::explain_directory_failure("directory", place.directory_path,
                                         std::move(directory.error()));
  }
  place.directory = std::move(*directory);
  if (os::name_exists(place.directory.get(), place.name)) {
    return with_remedy(fail(ErrorKind::kExists, "'{}' already exists", path),
                       "remove it or choose another name");
  }
  return place;
}

}  // namespace lamina::operations
