// Assembles a file from its parts (file_parts.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/header.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "packed/block_digest.h"
#include "packed/object_io.h"
#include "packed/pack_reader.h"
#include "remote/file_parts.h"

namespace lamina::remote {

/// Consecutive blocks of a file that are consecutive in one of its parts too.
struct PartPiece {
  BlockRun run;              ///< in the file
  std::uint32_t stored = 0;  ///< number of the first one among the stored blocks of the part
  std::uint32_t order = 0;   ///< and among the blocks of the file that are not holes
};

/// Where all blocks of a file are. Takes some 30 bytes for each run of the map.
struct FilePlan {
  std::vector<MappedRun> map;                  ///< never implied
  std::vector<std::vector<PartPiece>> pieces;  ///< of each part, in the order of the part
  std::uint32_t data_blocks = 0;               ///< of the file, that are not holes
};

/// Looks up a file's map in its parts. `readers` are those of the parts. kCorrupt: a part does not
/// have what the map takes from it, or is not a part.
Result<FilePlan> plan_file(const PartedFile& file, std::uint64_t size_bytes,
                           std::span<const packed::PackReader> readers);

/// The digest of a file's contents, of which the digests of its blocks are known, in order.
Result<format::Digest128> digest_of_blocks(std::span<const MappedRun> map,
                                           std::span<const packed::BlockDigest> digests);

/// A file that is being assembled.
struct AssembledFile {
  int fd = -1;  ///< empty
  std::string path;
  format::FileDigest contents;  ///< that it must have
};

/// Writes a file from its parts, each of which is read forwards through its source, and syncs it.
/// Every block is checked before it is written, and the whole against its digest, which takes 16
/// bytes of memory for each block. Holes stay holes. kCorrupt: a frame is damaged, or the contents
/// are others. After an error the file is incomplete.
Status assemble_file(const FilePlan& plan, std::span<const packed::PackReader> readers,
                     std::span<const packed::Source> sources, const AssembledFile& file,
                     Progress* progress);

}  // namespace lamina::remote
