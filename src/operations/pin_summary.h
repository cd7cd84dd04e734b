// What a listing says about the pins of a store.
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

/// Reads every pin of the store at `path`, without locks; one that goes meanwhile is left out. What
/// cannot be read is in its error, or in `notes`.
std::vector<PinSummary> summarize_pins(const std::string& path, std::vector<std::string>& notes);

/// True when the VM of `pin` runs and was resumed from this pause; by the snapshot's name where one
/// of the pause ids is not known.
bool is_used_by(const PinListing& pin, const std::optional<Uuid>& pause_id,
                const std::string& name);

}  // namespace lamina::operations
