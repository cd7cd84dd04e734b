// Packs layers and files, and unpacks them again, by descriptor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/run.h"
#include "engine/chain.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "packed/pack_reader.h"
#include "packed/pack_writer.h"

namespace lamina::packed {

/// Reads all of a span's bytes from `offset` of an object on.
using Source = std::function<Status(std::uint64_t offset, std::span<std::byte> into)>;

/// Packs layer `index` of `chain`: its data is read in order, and every block verified. kCorrupt: a
/// block is wrong; the message names the layer. kUnsupported: the layer has no checksums (written
/// by wrenn). Else the errors of reading and of `sink`; kInterrupted. REQUIRES: the chain was
/// opened with its checksums.
Result<PackedObject> pack_layer(const engine::Chain& chain, mapping::LayerIndex index,
                                const PackSettings& settings, Sink sink, Progress* progress);

/// An open file to pack.
struct PackedFileInput {
  int file = -1;
  std::uint64_t size_bytes = 0;
  std::string path;            ///< for messages
  std::vector<BlockRun> runs;  ///< its data; data_runs() has them
};

/// The blocks of a file with data, as runs that are in order and not adjacent. Holes and
/// preallocated storage are left out. kUnsupported: the file is too large.
Result<std::vector<BlockRun>> data_runs(int fd, std::uint64_t size_bytes, const std::string& path);

/// Packs a file. kCorrupt: it became shorter meanwhile. Else as pack_layer().
Result<PackedObject> pack_file(const PackedFileInput& input, const PackSettings& settings,
                               Sink sink, Progress* progress);

/// Reads footer and index of an object of `object_bytes` bytes. Errors: those of PackReader::open()
/// and of `source`.
Result<PackReader> open_object(const Source& source, std::uint64_t object_bytes,
                               ObjectIdentity identity);

/// Unpacks an object into the empty file `fd`, and syncs it. A layer becomes a layer file whose
/// trailer has the same bytes as the one that was packed, with its data at the same places; of a
/// file, holes stay holes. Every block is verified before it is written. kCorrupt: a frame is
/// damaged, or the checksums are not all of the layer's. After an error the file is incomplete.
Status unpack_object(const PackReader& reader, const Source& source, int fd,
                     const std::string& path, Progress* progress);

}  // namespace lamina::packed
