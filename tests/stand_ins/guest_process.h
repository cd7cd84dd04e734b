// A forked process that plays a VM whose memory comes from a page server: it maps its memory, sends
// the handshake as Firecracker does and then runs a function of the test.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "stand_ins/guest_region.h"

namespace lamina::tests {

/// Holds processes back until it is opened. A process that is forked while another thread holds a
/// lock (the allocator's, a sanitizer's, or the guard of a static variable) waits for it forever,
/// so guests are forked before a server in the same process starts its threads, and connect later.
class Gate {
 public:
  Gate();
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate();

  void open() const;
  /// In a forked process: returns when it is open.
  void wait() const;

 private:
  int eventfd_;
};

struct GuestLayout {
  std::vector<std::size_t> region_bytes;  ///< in the order of the memory file
  bool huge_pages = false;
  /// Descriptors of the caller stay open in the process. A server in the caller holds the locks of
  /// its VMs' directories, and every process that inherits the descriptors holds them too.
  bool keeps_descriptors = false;
  /// Where each region is in the memory file. Empty: one follows the other.
  std::vector<std::uint64_t> memory_offsets = {};
  /// The process connects once it is open; nullptr: at once.
  const Gate* gate = nullptr;
};

/// Maps the regions; nothing is registered yet. Ends the process with kExitUnavailable on failure.
std::vector<GuestRegion> map_regions(const GuestLayout& layout);

/// Forks the process. Its exit code is the result of `guest`, or kExitUnavailable if this machine
/// lacks what it needs, or kExitNoServer if the handshake failed. The caller waits for it.
pid_t start_guest(const std::string& socket_path, const GuestLayout& layout,
                  const std::function<int(std::span<GuestRegion>)>& guest);

inline constexpr int kExitNoServer = 78;

/// The exit code of a process; 128 + the signal that ended it.
int wait_for(pid_t process);

}  // namespace lamina::tests
