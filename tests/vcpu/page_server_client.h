// Firecracker's side of a resume through a page server.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::tests {

/// Both are kept open as long as the guest lives, as Firecracker keeps them.
struct PageServerConnection {
  os::Fd userfaultfd;
  os::Fd socket;
};

/// Registers the regions (anonymous memory, in the order of the memory file) with a new
/// userfaultfd, connects to the server that listens at `socket_path` and hands both over. Ends the
/// process with 77 where the machine has no userfaultfd.
Result<PageServerConnection> connect_to_page_server(const std::string& socket_path,
                                                    std::span<const std::span<std::byte>> regions);

}  // namespace lamina::tests
