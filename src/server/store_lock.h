// One page server per store: whoever serves holds a lock, and those that it forks or that take its
// place by exec hold it with it.
#pragma once

#include <string>

#include "lamina/result.h"
#include "sys/fd.h"

namespace lamina::server {

/// Where a page server of `store` listens, unless it is told otherwise.
std::string store_socket_of(const std::string& store);

/// Locks the store; the lock goes with the last copy of the descriptor. kBusy when it is served
/// already, kNotFound when there is no such directory.
Result<sys::Fd> lock_store(const std::string& store);

}  // namespace lamina::server
