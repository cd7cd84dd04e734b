// Firecracker's side of a load with the Uffd back end: guest memory registered with a userfaultfd,
// and the handshake with the page server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"
#include "stand_ins/guest_region.h"

namespace lamina::tests {

/// Exit code of a process on a machine that lacks what it needs; ctest counts it as a skip.
inline constexpr int kExitUnavailable = 77;

/// Both stay open while the guest lives, as in Firecracker.
struct PageServerConnection {
  os::Fd userfaultfd;
  os::Fd socket;
};

/// Registers the regions with `userfaultfd` (or with a new one, if it is not valid), connects to
/// the server at `socket_path` and sends the handshake. Errors are in Firecracker's words. Ends the
/// process with kExitUnavailable where userfaultfd does not work.
Result<PageServerConnection> connect_to_page_server(const std::string& socket_path,
                                                    std::span<const GuestRegion> regions,
                                                    std::size_t page_bytes,
                                                    os::Fd userfaultfd = {});

// The steps, for peers that take them in another way.

/// A userfaultfd with EVENT_REMOVE and `more_features`. Ends the process with kExitUnavailable
/// where there is none.
int open_userfaultfd(std::uint64_t more_features = 0);

/// Registers memory for missing pages. Ends the process with kExitUnavailable on failure.
void register_memory(int userfaultfd, const std::byte* memory, std::size_t bytes);

/// The text of the handshake.
std::string regions_json(std::span<const GuestRegion> regions, std::size_t page_bytes);

/// `number` as Rust prints it: "No such file or directory (os error 2)".
std::string os_error_text(int number);

}  // namespace lamina::tests
