// A process that behaves as Firecracker does towards a page server: it maps guest memory, registers
// it with a userfaultfd (missing pages, REMOVE events), connects, sends the descriptor and the
// regions, keeps a copy of the descriptor and the socket, and touches its memory from several
// threads.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace lamina::tests {

/// One mapped region of the guest.
struct GuestRegion {
  std::byte* memory = nullptr;
  std::size_t size_bytes = 0;
  std::uint64_t memory_offset = 0;
};

struct GuestLayout {
  std::vector<std::size_t> region_bytes;  ///< in the order of the memory file
  bool huge_pages = false;
};

/// Forks the process; it connects to `socket_path`, hands its memory over and runs `guest`, whose
/// result is its exit code (77: this machine cannot do it). The caller waits for it.
pid_t start_guest(const std::string& socket_path, const GuestLayout& layout,
                  const std::function<int(std::span<GuestRegion>)>& guest);

/// A listening Unix socket at `path`.
int listen_at(const std::string& path);

/// The exit code of a process; 128 + the signal that ended it.
int wait_for(pid_t process);

}  // namespace lamina::tests
