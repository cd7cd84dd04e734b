// One page server per store. The lock is held by the supervisor, by the processes that it forks,
// and by the program that replaces it.
#pragma once

#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::server {

/// Locks the store. The lock ends with the last copy of the descriptor. kBusy if a page server runs
/// already, kNotFound if there is no such directory.
Result<os::Fd> lock_store(const std::string& store);

/// Path of the control socket (control_socket.h): <store>/.vms/page-server.control.
std::string control_socket_of(const std::string& store);

/// Name, in <store>/.vms, of the log of a page server that a resume has started.
inline constexpr const char* kStoreLogName = "page-server.log";

}  // namespace lamina::server
