// Rebuilding a lost header from the trailers of a directory's layers.
//
// The youngest layer's trailer names every other layer of the state it was published with (its
// chain) and lists every block that was zero then. So that state is: for each block not listed as
// zero, the youngest layer of the chain that stores it. A merge that came later put one layer in
// the place of several and says which (replaces); where the chain names a layer that a present one
// replaces, that one stands in its place. A missing layer is noticed, because the chain names it,
// and nothing is guessed. (Only a missing youngest one is not: the others are the state before it.
// The caller compares the pause id with what else it knows.)
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

/// Rebuilds the newest state of these layers' directory. kNotFound when a layer that it needs is
/// missing, kCorrupt when the trailers do not give one state (two youngest layers, blocks that none
/// stores, sizes that differ).
Result<RebuiltState> rebuild_state(std::span<const format::Trailer* const> trailers);

}  // namespace lamina::engine
