// Whether a packed layer is the same as a local one.
#pragma once

#include "format/checksum.h"
#include "format/trailer.h"
#include "packed/packed_object.h"

namespace lamina::remote {

/// True if a layer with this trailer, which has its checksums, was packed with this index: the same
/// ids, places and checksums.
inline bool is_same_layer(const format::Trailer& layer, const packed::ObjectIndex& index) {
  const format::Trailer& packed = index.trailer;
  return layer.build_id == packed.build_id && layer.pause_id == packed.pause_id &&
         layer.parent == packed.parent && layer.memory_bytes == packed.memory_bytes &&
         layer.data_blocks == packed.data_blocks && layer.layout == packed.layout &&
         layer.chain == packed.chain && layer.replaces == packed.replaces &&
         layer.extents == packed.extents && layer.zeros == packed.zeros &&
         format::checksum64(std::as_bytes(std::span(layer.checksums))) == index.checksums_digest;
}

}  // namespace lamina::remote
