// The header of a snapshot as a value, whatever the bytes it came from.
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

/// What the header knows about one layer of its mapping.
struct LayerFacts {
  std::uint64_t data_blocks = 0;  ///< the layer's data is [0, data_blocks); 0 when unknown (v1, v3)
  bool has_checksums = false;     ///< lamina wrote it: it must end with a trailer

  bool operator==(const LayerFacts&) const = default;
};

struct Header {
  HeaderFormat format = HeaderFormat::kNative;
  Uuid pause_id;       ///< nil in versions 1 and 3, which have no place for it
  Uuid build_id;       ///< the youngest layer
  Uuid base_build_id;  ///< the layer that the chain began with (versions 1 and 3 keep it for ever)
  std::uint64_t memory_bytes = 0;
  std::uint64_t generation = 0;  ///< referenced layers - 1; in versions 1 and 3 as written there
  std::optional<FileDigest> vmstate;  ///< of `snapfile`
  std::vector<LayerFacts> layers;     ///< parallel to mapping.layers()
  mapping::Mapping mapping = mapping::Mapping::zeros(1);

  bool operator==(const Header&) const = default;
};

}  // namespace lamina::format
