// Peers that a page server must survive: each connects and does something that no VMM should.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "fake_firecracker.h"

namespace lamina::tests {

/// The names that misbehave() knows.
std::vector<std::string> misbehaviours();

/// Misbehaves towards the server at `socket_path`; `memory` is what an honest peer would offer.
/// Returns 0 when the server closed the connection, 1 when it did not in time. Some end the
/// process, as they say.
int misbehave(const std::string& kind, const std::string& socket_path, const GuestMemory& memory,
              std::size_t page_bytes, std::chrono::seconds patience);

}  // namespace lamina::tests
