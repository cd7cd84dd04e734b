// What the supervisor and the serving process tell each other, one message each over a socket that
// keeps messages apart. Both are of one binary, with one exception: a program that takes over
// (SIGHUP) hears from its predecessor's serving process which VMs have ended, until it has its own.
// So kEnded keeps its form, and the numbers of pager::SessionState what they mean; a program
// ignores what it does not understand.
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
  kCannotOpen = 4,
  kLog = 5,  ///< to the serving process: standard error from now on
  /// To the serving process: its successor is forked next, and ends it. The descriptor is the read
  /// end of a pipe whose other end the successor keeps open until then.
  kReplaced = 6,
  kServes = 7,       ///< to the supervisor: the serving process has begun
  kCannotBegin = 8,  ///< to the supervisor: it ends, for the reason in the text
};

struct ControlMessage {
  MessageKind kind = MessageKind::kServe;
  std::uint64_t id = 0;
  pager::SessionState state = pager::SessionState::kEnded;  ///< kEnded
  std::string text;  ///< kServe: the name of the VM's directory; otherwise a reason
};

/// A message without anything but its kind.
ControlMessage message_of(MessageKind kind);

inline constexpr std::size_t kMaxControlBytes = 4096;

/// Texts that do not fit are truncated.
std::vector<std::byte> encode_control(const ControlMessage& message);
Result<ControlMessage> decode_control(std::span<const std::byte> bytes);

}  // namespace lamina::server
