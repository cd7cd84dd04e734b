#include "server/listener.h"

#include <fcntl.h>

#include <chrono>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/path_walk.h"

namespace lamina::server {
namespace {

/// os::listen_at() locks the directory for as long as it replaces a socket.
constexpr std::chrono::seconds kLongestLock{1};

}  // namespace

SocketName SocketName::of(const std::string& path) {
  const std::string parent = os::parent_of(path);
  SocketName found;
  auto directory = os::open_directory(AT_FDCWD, parent, parent);
  if (!directory) return found;
  found.name = path.substr(path.rfind('/') + 1);
  const auto facts = os::facts_of_name(directory->get(), found.name, path);
  if (!facts) return found;
  found.directory = std::move(*directory);
  found.device = facts->device;
  found.inode = facts->inode;
  return found;
}

Result<Listener> Listener::bind(const std::string& path, const os::SocketAccess& access) {
  LAMINA_ASSIGN_OR_RETURN(os::Fd socket, os::listen_at(path, access));
  return Listener(std::move(socket), SocketName::of(path));
}

void Listener::set_path_if_unknown(const std::string& path) {
  if (!name_.directory.valid()) name_ = SocketName::of(path);
}

void Listener::remove() const noexcept {
  if (!name_.directory.valid()) return;
  // Without memory it stays, as that of a killed server does.
  static_cast<void>(contain("remove a socket", [&]() -> Status {
    const int directory = name_.directory.get();
    // An open file description of its own: a lock goes with it, and not with copies in a child.
    const auto locked = os::open_directory(directory, ".", name_.name);
    if (locked) static_cast<void>(os::wait_for_lock(locked->get(), name_.name, kLongestLock));
    const auto facts = os::facts_of_name(directory, name_.name, name_.name);
    if (!facts || facts->device != name_.device || facts->inode != name_.inode) return {};
    return os::remove_file(directory, name_.name, name_.name);
  }));
}

}  // namespace lamina::server
