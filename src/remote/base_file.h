// A file in the bucket with which a local one is compared: where its blocks are, and their digests.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "object_store/object_store.h"
#include "packed/block_digest.h"
#include "remote/assembly.h"
#include "remote/manifest.h"
#include "remote/pushed_object.h"

namespace lamina::remote {

struct BasePart {
  PushedObject object;
  std::uint32_t data_blocks = 0;
};

struct BaseFile {
  std::vector<BasePart> parts;
  std::vector<MappedRun> map;
  std::vector<packed::BlockDigest> digests;  ///< of the map's blocks, in order
};

/// Reads the digests of a file in `manifest`, 16 bytes for each block; not the blocks themselves.
/// nullopt: they are not those of the file's contents, or an object is damaged or gone. Else the
/// errors of the bucket. REQUIRES: file.storage == FileStorage::kParts.
Result<std::optional<BaseFile>> read_base_file(object_store::ObjectStore& bucket,
                                               const Manifest& manifest, const ManifestFile& file,
                                               Progress* progress);

}  // namespace lamina::remote
