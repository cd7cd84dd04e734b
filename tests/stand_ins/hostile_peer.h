// Peers that a page server must survive: each connects and does something that no VMM should.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "stand_ins/guest_region.h"

namespace lamina::tests {

/// Mapped and registered guest memory.
struct OfferedMemory {
  int userfaultfd = -1;
  std::vector<GuestRegion> regions;
};

/// The names that misbehave() knows.
std::vector<std::string> misbehaviours();

/// Misbehaves towards the server at `socket_path`; `memory` is what an honest peer would offer.
/// Returns 0 when the server closed the connection, 1 when it did not in time. Some end the
/// process, as they say.
int misbehave(const std::string& kind, const std::string& socket_path, const OfferedMemory& memory,
              std::size_t page_bytes, std::chrono::seconds timeout);

}  // namespace lamina::tests
