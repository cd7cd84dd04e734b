// Packs: the blocks of a snapshot's working set in one object, in the order of their first touch. A
// host that resumes the snapshot fetches with one sequential read what its guest will touch, which
// is scattered over many frames of the layers.
//
// A pack is a packed file (packed_object.h) that has the blocks back to back. The manifest says
// which guest blocks they are, and has their checksums, which are those of the layers' trailers. So
// a reader checks each block against what the layers have, and a pack cannot bring anything else.
//
// A pack is a copy: a snapshot is whole without it. If it cannot be made, uploaded, found or read,
// that is worth a note and no more.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "base/run.h"
#include "engine/chain.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "object_store/object_store.h"
#include "packed/pack_writer.h"
#include "remote/local_files.h"
#include "remote/manifest.h"
#include "remote/pack_contents.h"

namespace lamina::remote {

/// What a pack of a snapshot has: the blocks of its working set that a layer stores, in order, each
/// once. nullopt: there is no working set, or none of its blocks is stored. kCorrupt: the working
/// set is damaged, or of another memory.
Result<std::optional<PackContents>> plan_pack(const LocalSnapshot& local);

/// Reads the blocks from the layers, and packs them. kCorrupt: a block does not match its checksum.
/// Else as packed::pack_layer().
Result<packed::PackedObject> write_pack(const engine::Chain& chain, const PackContents& contents,
                                        const packed::PackSettings& settings, packed::Sink sink,
                                        Progress* progress);

/// Takes consecutive guest blocks of a pack, with their checksums. The spans are valid during the
/// call. An error ends the reading.
using PackConsumer = std::function<Status(BlockRun run, std::span<const std::byte> blocks,
                                          std::span<const std::uint64_t> checksums)>;

/// Fetches the pack of `manifest` in one sequential read, and passes its blocks on in the order of
/// first touch. Each was checked against the checksum that its layer has. Returns the number of
/// bytes that were fetched; 0 if there is no pack. kNotFound: the pack is gone; kCorrupt: it is
/// damaged, or is not what the manifest says. What was passed on before is right all the same, and
/// so the caller may go on without the rest. Else the errors of the bucket and of `consume`.
Result<std::uint64_t> fetch_pack(object_store::ObjectStore& bucket, const Manifest& manifest,
                                 const PackConsumer& consume, Progress* progress);

}  // namespace lamina::remote
