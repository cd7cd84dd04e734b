// Header versions 1 and 3: 64 bytes and records of 40, little-endian, no magic, no checksum.
//
//   u64 version (1 or 3), u64 block size, u64 memory size, u64 generation,
//   16-byte build id, 16-byte base build id,
//   records to the end of the file:
//   u64 guest offset, u64 length, 16-byte build id (nil: zeros), u64 storage offset
//
// Decoding keeps the records as they are, so that reading and writing a file reproduces its bytes
// (also what a writer left in the storage offsets of zeros). Meaning and validation come with
// to_header().
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

/// True when `bytes` begin with version number 1 or 3.
bool is_v1_header(std::span<const std::byte> bytes);

/// Splits the bytes; checks version and length only.
Result<HeaderV1> decode_v1(std::span<const std::byte> bytes);

std::vector<std::byte> encode_v1(const HeaderV1& header);

/// Validates and converts to 4 KiB blocks. Block sizes are powers of two from 4 KiB to 2 MiB. The
/// records must cover the memory in order, without gap or overlap, aligned to the block size; the
/// last may end at the memory size or at the next multiple of the block size. No records at all
/// mean one that maps everything to the header's own build at storage offset 0. The layers are
/// listed in the order: base build, the others as they first appear, the header's own build (the
/// format does not record their true order); a build that no record references is not listed,
/// except the own.
Result<Header> to_header(const HeaderV1& raw);

/// The other way, with blocks of 4 KiB. REQUIRES: header.format is kV1 or kV3.
HeaderV1 from_header(const Header& header);

}  // namespace lamina::format
