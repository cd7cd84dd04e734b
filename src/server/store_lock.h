// One page server per store: it holds a lock, and the processes that it forks or that take its
// place by exec hold it too.
#pragma once

#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::server {

/// Locks the store; the lock goes with the last copy of the descriptor. kBusy when it is served
/// already, kNotFound when there is no such directory.
Result<os::Fd> lock_store(const std::string& store);

/// Where the page server of a store says that it is alive: <store>/.vms/page-server.control.
std::string control_socket_of(const std::string& store);

/// The log in <store>/.vms of a page server that a resume has started.
inline constexpr const char* kStoreLogName = "page-server.log";

}  // namespace lamina::server
