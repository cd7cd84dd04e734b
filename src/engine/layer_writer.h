// Completes a layer file: writes the trailer after the data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/trailer.h"
#include "lamina/result.h"
#include "mapping/mapping.h"

namespace lamina::engine {

/// The trailer of the youngest layer `build_id` of `state`, the mapping that is published with it:
/// the extents `stored`, and the zeros and the chain of `state`. The caller adds the checksums.
format::Trailer describe_layer(const mapping::Mapping& state, const Uuid& build_id,
                               std::vector<mapping::StoredExtent> stored,
                               format::LayerLayout layout, std::uint64_t memory_bytes);

/// Pads the data of `fd` with zeros to whole blocks, writes `trailer` behind it, and syncs the
/// file. Can be repeated after a failure or a crash: it does not change the data, and replaces
/// everything behind it.
Status finish_layer(int fd, const format::Trailer& trailer, const std::string& path);

/// The same without the sync, which must follow before anything refers to the layer durably.
Status finish_layer_unsynced(int fd, const format::Trailer& trailer, const std::string& path);

}  // namespace lamina::engine
