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
  /// Descriptors of the caller stay open in the process. A server in the caller holds the locks of
  /// its VMs' directories, and so would every process that has them from it.
  bool keeps_descriptors = false;
  /// Where each region is in the memory file. Empty: one follows the other.
  std::vector<std::uint64_t> memory_offsets = {};
  /// Done in the process before it connects; may be empty.
  std::function<void()> before_connecting = {};
};

/// Guest memory as Firecracker has it: mapped, and registered with a userfaultfd.
struct GuestMemory {
  int userfaultfd = -1;
  std::vector<GuestRegion> regions;
};

/// Maps and registers the memory. Ends the process with 77 where the machine cannot do it.
GuestMemory map_guest(const GuestLayout& layout);

/// A userfaultfd with the given features beside EVENT_REMOVE; ends the process like map_guest().
int open_userfaultfd(std::uint64_t more_features = 0);

/// Registers memory for missing pages; ends the process like map_guest().
void register_memory(int userfaultfd, const std::byte* memory, std::size_t bytes);

/// A socket connected to `path`; -1 when nobody listens there.
int connect_to(const std::string& path);

/// The regions in the words of the handshake.
std::string regions_json(std::span<const GuestRegion> regions, std::size_t page_bytes);

/// Sends one message with descriptors; false when not all of it was sent.
bool send_with_descriptors(int socket, std::string text, std::span<const int> descriptors);

/// Forks the process; it connects to `socket_path`, hands its memory over and runs `guest`, whose
/// result is its exit code (77: this machine cannot do it). The caller waits for it.
pid_t start_guest(const std::string& socket_path, const GuestLayout& layout,
                  const std::function<int(std::span<GuestRegion>)>& guest);

/// A listening Unix socket at `path`.
int listen_at(const std::string& path);

/// The exit code of a process; 128 + the signal that ended it.
int wait_for(pid_t process);

}  // namespace lamina::tests
