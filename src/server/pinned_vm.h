// The pin of a VM that is served: which snapshot it gets, and whether it may have it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "os/peer.h"
#include "pager/vm_state.h"
#include "store/pin.h"

namespace lamina::server {

/// A pin as a page server sees it. The server reads pins and never locks them.
struct VmPin {
  std::string path;  ///< of the pin; absolute
  std::string base;  ///< path of the snapshot that is served
  std::optional<store::PinFacts> facts;

  /// Path of the snapshot that the VM was resumed from, by its name in the store; empty: unknown.
  [[nodiscard]] std::string snapshot_path() const;
};

/// The pin in `store` (absolute) of a process that has connected. kFailed if it has none, or
/// belongs to another user than the pin says: the pin is its permission to be served.
Result<VmPin> pin_of_peer(const std::string& store, const os::Peer& peer, std::uint64_t start_time);

/// The pin that a VM's record names; nullopt if the VM was served a snapshot by name. If the facts
/// cannot be read they are missing: what is served does not depend on them.
std::optional<VmPin> pin_of_record(const pager::VmRecord& record);

}  // namespace lamina::server
