#include "daemon/store_link.h"

#include <fcntl.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "daemon/log.h"
#include "lamina/serve.h"
#include "os/directory.h"
#include "os/path_walk.h"

namespace lamina::daemon {
namespace {

std::string last_part_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// Opens the directory of the link; a symbolic link in its place is refused.
Result<os::Fd> open_area_of(const std::string& path) {
  const std::string area = os::parent_of(path);
  const std::string store = os::parent_of(area);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, store, store));
  return os::open_directory(directory.get(), last_part_of(area), area);
}

}  // namespace

std::unique_ptr<StoreLink> StoreLink::make(const std::string& store, const std::string& listen) {
  const std::string path = daemon_socket(store);
  std::error_code error;
  const std::string target = std::filesystem::absolute(listen, error).string();
  auto area = open_area_of(path);
  const auto make_link = [&]() -> Status {
    if (error) return std::unexpected(Error{ErrorKind::kFailed, error.message()});
    if (!area) return std::unexpected(area.error());
    // The caller's lock excludes other daemons, so the temporary name can be a fixed one.
    const std::string name = last_part_of(path);
    return os::replace_symbolic_link(target, area->get(), name + ".new", name, path);
  };
  if (const Status made = make_link(); !made) {
    log(Level::kWarning, "link", error_fields(made.error()));
    return nullptr;
  }
  return std::unique_ptr<StoreLink>(new StoreLink(std::move(*area), path, target));
}

StoreLink::~StoreLink() {
  static_cast<void>(contain("remove", [&]() -> Status {
    const std::string name = last_part_of(path_);
    if (os::target_of_link(area_.get(), name) != target_) return {};
    return os::remove_file(area_.get(), name, path_);
  }));
}

}  // namespace lamina::daemon
