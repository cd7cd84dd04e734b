#include "daemon/store_link.h"

#include <fcntl.h>

#include <filesystem>
#include <system_error>

#include "base/contain.h"
#include "daemon/log.h"
#include "lamina/serve.h"
#include "sys/directory.h"

namespace lamina::daemon {

std::unique_ptr<StoreLink> StoreLink::make(const std::string& store, const std::string& listen) {
  const std::string path = daemon_socket(store);
  std::error_code error;
  const std::string target = std::filesystem::absolute(listen, error).string();
  // Whoever holds the lock is alone here, so the fresh name can be a fixed one.
  const Status made = error
                          ? Status(std::unexpected(Error{ErrorKind::kFailed, error.message()}))
                          : sys::replace_symbolic_link(target, AT_FDCWD, path + ".new", path, path);
  if (!made) {
    log(Level::kWarning, "link", error_fields(made.error()));
    return nullptr;
  }
  return std::unique_ptr<StoreLink>(new StoreLink(path, target));
}

StoreLink::~StoreLink() {
  static_cast<void>(contain("remove", [&]() -> Status {
    if (sys::target_of_link(AT_FDCWD, path_) != target_) return {};
    return sys::remove_file(AT_FDCWD, path_, path_);
  }));
}

}  // namespace lamina::daemon
