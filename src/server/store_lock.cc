#include "server/store_lock.h"

#include <fcntl.h>
#include <poll.h>

#include "base/error.h"
#include "lamina/serve.h"
#include "store/store.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/lock.h"

namespace lamina {
namespace {

constexpr const char* kLockName = "page-server.lock";
constexpr const char* kSocketName = "page-server.sock";

std::string path_in_vms_area(const std::string& store, const char* name) {
  return fmt::format("{}/{}/{}", store, store::kVmsArea, name);
}

}  // namespace

namespace server {

std::string store_socket_of(const std::string& store) {
  return path_in_vms_area(store, kSocketName);
}

Result<sys::Fd> lock_store(const std::string& store) {
  // Who has just been killed may be on its way out, and who asks whether a store is served has the
  // lock for a moment.
  constexpr int kAttempts = 100;
  constexpr int kPauseMs = 10;
  const auto directory = sys::open_directory(AT_FDCWD, store, store);
  if (!directory) {
    if (directory.error().kind != ErrorKind::kNotFound) return std::unexpected(directory.error());
    return fail(ErrorKind::kNotFound, "store '{}' does not exist; make the directory first", store);
  }
  const std::string path = path_in_vms_area(store, kLockName);
  LAMINA_RETURN_IF_ERROR(sys::make_directory(directory->get(), store::kVmsArea, path));
  LAMINA_ASSIGN_OR_RETURN(sys::Fd fd, sys::open_at(AT_FDCWD, path, O_RDWR | O_CREAT, path));
  for (int i = 0; i < kAttempts; ++i) {
    LAMINA_ASSIGN_OR_RETURN(const bool locked, sys::try_lock(fd.get(), path));
    if (locked) return fd;
    ::poll(nullptr, 0, kPauseMs);
  }
  return fail(ErrorKind::kBusy,
              "store '{}' has a page server already; one serves all VMs of a store", store);
}

}  // namespace server

bool is_store_served(const std::string& store) {
  const std::string path = path_in_vms_area(store, kLockName);
  const auto fd = sys::open_at(AT_FDCWD, path, O_RDONLY, path);
  return fd && sys::is_locked(fd->get(), path).value_or(false);
}

}  // namespace lamina
