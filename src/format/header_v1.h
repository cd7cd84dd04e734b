// Header versions 1 and 3: 64 bytes and records of 40, little-endian, no magic, no checksum.
//
//   u64 version (1 or 3), u64 block size, u64 memory size, u64 generation,
//   16-byte build id, 16-byte base build id,
//   records to the end of the file:
//   u64 guest offset, u64 length, 16-byte build id (nil: zeros), u64 storage offset
//
// Decoding keeps the records unchanged, so that reading and writing a file reproduces its bytes,
// including the unused storage offsets of zeros. to_header() interprets and validates them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "format/header.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::format {

struct RecordV1 {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  Uuid build_id;
  std::uint64_t storage_offset = 0;

  bool operator==(const RecordV1&) const = default;
};

struct HeaderV1 {
  std::uint64_t version = 1;
  std::uint64_t block_bytes = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t generation = 0;
  Uuid build_id;
  Uuid base_build_id;
  std::vector<RecordV1> records;

  bool operator==(const HeaderV1&) const = default;
};

/// True if `bytes` begin with version number 1 or 3.
bool is_v1_header(std::span<const std::byte> bytes);

/// Decodes the fields; checks version and length only.
Result<HeaderV1> decode_v1(std::span<const std::byte> bytes);

std::vector<std::byte> encode_v1(const HeaderV1& header);

/// Validates the header and converts it to 4 KiB blocks. Block sizes are powers of two from 4 KiB
/// to 2 MiB. The records must cover the memory in order, without gaps or overlaps, aligned to the
/// block size; the last one may end at the memory size or at the next multiple of the block size. A
/// header without records maps everything to its own build at storage offset 0. The layers are
/// listed in this order: base build, the others by first appearance, the header's own build (the
/// format does not record their true order). Builds that no record references are omitted, except
/// the header's own.
Result<Header> to_header(const HeaderV1& raw);

/// The reverse conversion, with blocks of 4 KiB. REQUIRES: header.format is kV1 or kV3.
HeaderV1 from_header(const Header& header);

}  // namespace lamina::format
