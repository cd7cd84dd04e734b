// Rebuilds a lost header from the trailers of a directory's layers.
//
// The youngest layer's trailer names every other layer of the state it was published with (its
// chain) and lists every block that was zero. So in that state each block is zero if listed, and
// otherwise comes from the youngest layer of the chain that stores it. A later merge replaces
// several layers by one, whose trailer names them (replaces): it takes the place of any of them in
// the chain. A missing layer is detected because the chain names it; nothing is guessed. (A missing
// youngest layer is not detected: the others form the state before it. The caller compares the
// pause id with other information.)
#pragma once

#include <span>
#include <vector>

#include "format/trailer.h"
#include "lamina/result.h"
#include "mapping/mapping.h"

namespace lamina::engine {

struct RebuiltState {
  mapping::Mapping mapping;
  Uuid build_id;  ///< the youngest layer
  Uuid pause_id;
  std::uint64_t memory_bytes = 0;
};

/// Rebuilds the newest state from the trailers of a directory. kNotFound if a layer is missing,
/// kCorrupt if the trailers do not describe a single state (two youngest layers, blocks that no
/// layer stores, different sizes).
Result<RebuiltState> rebuild_state(std::span<const format::Trailer* const> trailers);

}  // namespace lamina::engine
