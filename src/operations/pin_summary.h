// The pins of a store, for a listing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lamina/listing.h"

namespace lamina::operations {

struct PinSummary {
  PinListing listing;
  std::vector<FileUse> files;
};

/// Reads every pin of the store at `path`, without locks. A pin that disappears meanwhile is left
/// out. If one cannot be read, its `error` or `notes` says why.
std::vector<PinSummary> summarize_pins(const std::string& path, std::vector<std::string>& notes);

/// True if the VM of `pin` runs and was resumed from this pause. Compares the snapshot's name if
/// one of the pause ids is unknown.
bool is_used_by(const PinListing& pin, const std::optional<Uuid>& pause_id,
                const std::string& name);

}  // namespace lamina::operations
