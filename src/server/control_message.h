// What the supervisor and the serving process tell each other, one message each over a socket that
// keeps messages apart. Both are of one binary: a new one starts its own serving process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "pager/session.h"

namespace lamina::server {

enum class MessageKind : std::uint8_t {
  kServe = 1,   ///< to the serving process: a VM, with its descriptors
  kDetach = 2,  ///< to the serving process: fill all memory, so that VMs need no server
  kEnded = 3,   ///< to the supervisor: a VM is not served any more
  /// To the supervisor: what a VM is served cannot be opened here. The supervisor has it open, and
  /// so has the next serving process.
  kGiveWay = 4,
  kLog = 5,  ///< to the serving process: standard error from now on
};

struct ControlMessage {
  MessageKind kind = MessageKind::kServe;
  std::uint64_t id = 0;
  pager::SessionState state = pager::SessionState::kEnded;  ///< kEnded
  std::string text;  ///< kServe: the name of its directory; else: why
};

inline constexpr std::size_t kMaxControlBytes = 4096;

/// Longer texts are cut.
std::vector<std::byte> encode_control(const ControlMessage& message);
Result<ControlMessage> decode_control(std::span<const std::byte> bytes);

}  // namespace lamina::server
