#include "server/store_lock.h"

#include <fcntl.h>
#include <poll.h>

#include "base/error.h"
#include "lamina/serve.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/path_walk.h"
#include "server/control_socket.h"
#include "store/areas.h"
#include "store/store.h"

namespace lamina {
namespace {

constexpr const char* kLockName = "page-server.lock";
constexpr const char* kSocketName = "page-server.sock";
constexpr const char* kControlName = "page-server.control";
constexpr const char* kMetricsName = "page-server.metrics";
constexpr const char* kDaemonName = "laminad.sock";

std::string path_in_vms_area(const std::string& store, const char* name) {
  return fmt::format("{}/{}/{}", store, store::kVmsArea, name);
}

}  // namespace

namespace server {

Result<os::Fd> lock_store(const std::string& store) {
  // A server that was just killed may be on its way out, and a process that asks whether a store is
  // served has the lock for a moment.
  constexpr int kAttempts = 100;
  constexpr int kPauseMs = 10;
  const std::string path = path_in_vms_area(store, kLockName);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area, store::make_vms_area(store));
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile file,
                          os::open_regular(area.get(), kLockName, O_RDWR | O_CREAT, path));
  for (int i = 0; i < kAttempts; ++i) {
    LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(file.fd.get(), path));
    if (locked) return std::move(file.fd);
    ::poll(nullptr, 0, kPauseMs);
  }
  return fail(ErrorKind::kBusy,
              "store '{}' has a page server already, {}; one serves all VMs of a store", store,
              os::lock_holder(file.fd.get()));
}

std::string control_socket_of(const std::string& store) {
  return path_in_vms_area(store, kControlName);
}

}  // namespace server

std::string page_server_socket(const std::string& store) {
  return path_in_vms_area(store, kSocketName);
}

std::string page_server_metrics_socket(const std::string& store) {
  return path_in_vms_area(store, kMetricsName);
}

std::string daemon_socket(const std::string& store) { return path_in_vms_area(store, kDaemonName); }

StoreServer find_store_server(const std::string& store, std::string* cause) {
  const std::string path = path_in_vms_area(store, kLockName);
  const auto area = store::open_in_store(os::parent_of(path));
  if (!area) return StoreServer::kNone;
  const auto file = os::open_regular(area->get(), kLockName, O_RDONLY, path);
  if (!file || !os::is_locked(file->fd.get(), path).value_or(false)) return StoreServer::kNone;
  // A process that was killed has its lock and its listening sockets until the kernel closes them,
  // so only an answer tells that a server lives.
  return server::ask_control(server::control_socket_of(store), cause);
}

}  // namespace lamina
