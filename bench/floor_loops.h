// The floors: what the kernel must do for an operation whatever program asks for it, as bare loops.
// None of them looks at the bytes that it moves.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "lamina/result.h"
#include "mapping/overlay.h"

namespace lamina::bench {

/// Reads the whole file once, 256 KiB at a time.
Status read_whole_file(const std::string& path);

/// Walks the data extents of a file by SEEK_DATA and SEEK_HOLE and reads each once.
Status read_data_extents(const std::string& path);

/// The same, and writes what it read to the end of the new file `destination`. Not synced.
Status copy_data_extents(const std::string& path, const std::string& destination);

/// The sizes of the files that an ingest writes besides the data.
struct MetadataSizes {
  std::uint64_t trailer_bytes = 0;
  std::uint64_t header_bytes = 0;
};

/// Does the syncs of an ingest, in the order and on files in the places that the documented ones
/// have, below the directory `store` (made with areas as a store's):
///   diff only: probe for exact holes                                           1
///   adopted: journal, its directory, the directory the file was moved into     3
///   layer, header, facts, the directory with them                              4
///   after the rename: both parent directories                                  2
/// and the renames between them. `data_file` is moved and gets the trailer: for an adopted layer
/// the memory file, for a compact one the copied data.
struct SyncPattern {
  bool probes_holes = false;
  bool adopts = false;
  std::uint64_t memory_bytes = 0;
  MetadataSizes sizes;
};
Status do_ingest_syncs(const std::string& store, const std::string& data_file,
                       const SyncPattern& pattern);
Status make_sync_store(const std::string& store);

/// One FICLONERANGE per move, back to back into the new file `destination`.
Status clone_moves(const engine::Chain& chain, std::span<const mapping::Extent> moves,
                   const std::string& destination);

/// One copy_file_range per move.
Status copy_moves(const engine::Chain& chain, std::span<const mapping::Extent> moves,
                  const std::string& destination);

/// Syncs a file, or a directory, and its parent.
Status sync_with_parent(const std::string& path);

/// Reads the stored runs of a chain's youngest state (live blocks) once, 256 KiB at a time.
Status read_live_blocks(const engine::Chain& chain);

/// The same, written to their guest offsets in the new sparse file `destination`.
Status copy_live_blocks(const engine::Chain& chain, const std::string& destination);

/// Clones each run to its guest offset in the new file `destination`.
Status clone_live_blocks(const engine::Chain& chain, const std::string& destination);

/// Reads every block that the layers' trailers list.
Status read_stored_blocks(const engine::Chain& chain);

}  // namespace lamina::bench
