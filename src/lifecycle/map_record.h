// A record in the pin of a VM whose changes always count from the file that it maps (Cloud
// Hypervisor): its pauses leave the pin's base as it is, and the record names the last of them.
#pragma once

#include <optional>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/pin.h"

namespace lamina::lifecycle {

struct MapRecord {
  std::optional<Uuid> last_pause;  ///< absent: none since the resume
};

/// nullopt if the pin has none: the changes count from the last create.
Result<std::optional<MapRecord>> read_map_record(const store::Pin& pin);

/// Replaces the record. A power failure may bring the old one back, but it ends the VM, too.
/// REQUIRES: the pin is locked.
Status write_map_record(const store::Pin& pin, const MapRecord& record);

}  // namespace lamina::lifecycle
