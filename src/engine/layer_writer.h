// Finishing a layer file: the trailer after the data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/trailer.h"
#include "lamina/result.h"
#include "mapping/mapping.h"

namespace lamina::engine {

/// Describes the youngest layer `build_id` of `state`, the mapping that is published with it:
/// extents as listed in `stored`, the zeros and the chain of `state`. Checksums are left to the
/// caller.
format::Trailer describe_layer(const mapping::Mapping& state, const Uuid& build_id,
                               std::vector<mapping::StoredExtent> stored,
                               format::LayerLayout layout, std::uint64_t memory_bytes);

/// Writes `trailer` behind the data of `fd`, whose data part is padded with zeros to whole blocks
/// first, and syncs the file. May be repeated after a failure or a crash: nothing of the data part
/// is touched, and whatever stood behind it is replaced.
Status finish_layer(int fd, const format::Trailer& trailer, const std::string& path);

}  // namespace lamina::engine
