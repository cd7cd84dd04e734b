// The pin of a VM that is served: what it is given, and whether it may have it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "os/peer.h"
#include "pager/vm_state.h"
#include "store/pin.h"

namespace lamina::server {

/// A pin as a page server sees it: it reads, and never locks.
struct VmPin {
  std::string path;  ///< of the pin; absolute
  std::string base;  ///< what is served
  std::optional<store::PinFacts> facts;

  /// The snapshot that the VM was resumed from, by its name in the store; empty when not known.
  [[nodiscard]] std::string snapshot_path() const;
};

/// The pin in `store` (absolute) of a process that has connected. kFailed when it has none or is
/// another user's than the pin's: the pin is what allows it to be served.
Result<VmPin> pin_of_peer(const std::string& store, const os::Peer& peer, std::uint64_t start_time);

/// The pin that a VM's record names; nothing when it was served a snapshot by its name. Without
/// facts when they cannot be read: what is served does not depend on them.
std::optional<VmPin> pin_of_record(const pager::VmRecord& record);

}  // namespace lamina::server
