// The header of a snapshot, independent of its format.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "format/checksum.h"
#include "lamina/header_format.h"
#include "lamina/uuid.h"
#include "mapping/mapping.h"

namespace lamina::format {

/// Size and digest of a file that belongs to the snapshot.
struct FileDigest {
  std::uint64_t size_bytes = 0;
  Digest128 digest{};

  bool operator==(const FileDigest&) const = default;
};

/// What the header records about one layer of its mapping.
struct LayerFacts {
  std::uint64_t data_blocks = 0;  ///< the layer's data is [0, data_blocks); 0 if unknown (v1, v3)
  bool has_checksums = false;     ///< written by lamina, so the file must have a trailer

  bool operator==(const LayerFacts&) const = default;
};

struct Header {
  HeaderFormat format = HeaderFormat::kNative;
  Uuid pause_id;       ///< nil in versions 1 and 3, which do not store it
  Uuid build_id;       ///< the youngest layer
  Uuid base_build_id;  ///< the first layer of the chain (versions 1 and 3 keep it after merges)
  std::uint64_t memory_bytes = 0;
  std::uint64_t generation = 0;       ///< referenced layers - 1; versions 1 and 3: as stored
  std::optional<FileDigest> vmstate;  ///< of `snapfile`
  std::vector<LayerFacts> layers;     ///< parallel to mapping.layers()
  mapping::Mapping mapping = mapping::Mapping::zeros(1);

  bool operator==(const Header&) const = default;
};

}  // namespace lamina::format
