// The header of an E2B build: which build's data object holds each block of the guest's memory, and
// how those objects are compressed. Three layouts are read and written:
//
//   version 3 (1 and 2 are the same)   64 bytes, then records of 40 bytes to the end of the file
//   version 4   64 bytes, flags, size, one LZ4 frame: entries of builds, then records of 40 bytes
//   version 5   the same, but the mapping is a table of builds and columns of variable-length
//   numbers
//
// docs/e2b.md describes the bytes, and what is refused here although E2B's own reader takes it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "e2b/compression.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::e2b {

/// The unit of all mappings, also where the block size is 2 MiB, is a block of 4 KiB.
inline constexpr std::uint64_t kHugeBlockBytes = std::uint64_t{2} << 20;

/// Most bytes of the part of a header that is compressed (versions 4 and 5), before compression. It
/// is the limit of E2B's reader. Version 3 has the same limit here.
inline constexpr std::uint64_t kMaxHeaderBlockBytes = std::uint64_t{256} << 20;
/// Most bytes of a header file: such a part that does not compress, and what is around it.
inline constexpr std::uint64_t kMaxHeaderFileBytes =
    kMaxHeaderBlockBytes + (std::uint64_t{2} << 20);
inline constexpr std::size_t kMaxFrames = std::size_t{1} << 20;  ///< of one build
inline constexpr std::size_t kMaxBuilds = 65'535;                ///< in a mapping
inline constexpr std::size_t kMaxMappings = 6'391'320;           ///< E2B's limit in version 5

/// A run of a data object that is compressed for itself.
struct Frame {
  std::uint64_t data_offset = 0;    ///< in the uncompressed data
  std::uint64_t object_offset = 0;  ///< in the object
  std::uint32_t data_bytes = 0;
  std::uint32_t object_bytes = 0;

  [[nodiscard]] std::uint64_t data_end() const { return data_offset + data_bytes; }
  [[nodiscard]] std::uint64_t object_end() const { return object_offset + object_bytes; }
  bool operator==(const Frame&) const = default;
};

/// Where to find the bytes of one build's data object.
struct BuildEntry {
  std::uint64_t data_bytes = 0;           ///< uncompressed; 0 is unknown or none
  std::array<std::uint8_t, 32> sha256{};  ///< of the uncompressed data; all zeros: unknown
  Compression compression = Compression::kNone;
  /// Sorted and disjoint, in the data and in the object. Empty if nothing is compressed. The entry
  /// of an ancestor may have only the frames that the mapping needs.
  std::vector<Frame> frames;

  bool operator==(const BuildEntry&) const = default;
};

/// `build` is an index in Header::builds.
inline constexpr std::uint32_t kNoBuild = UINT32_MAX;

/// A run of blocks of the guest, and where they are.
struct BuildMapping {
  std::uint32_t guest_block = 0;
  std::uint32_t block_count = 0;
  std::uint32_t build = kNoBuild;  ///< kNoBuild: zeros
  std::uint32_t storage_block = 0;

  bool operator==(const BuildMapping&) const = default;
};

struct Header {
  std::uint32_t version = 5;  ///< 1 to 5
  std::uint64_t block_bytes = 4096;
  std::uint64_t memory_bytes = 0;
  std::uint64_t generation = 0;
  Uuid build_id;
  Uuid base_build_id;
  std::vector<Uuid> builds;            ///< that mappings refer to, distinct, not nil
  std::vector<BuildMapping> mappings;  ///< cover the memory in order, without gaps or overlaps
  std::map<Uuid, BuildEntry> entries;  ///< versions 4 and 5

  bool operator==(const Header&) const = default;
};

/// Decodes and validates. kCorrupt: the bytes are not a header that can be read without doubt. Uses
/// memory in proportion to the bytes and to what they decompress to, at most kMaxHeaderBlockBytes.
Result<Header> decode_header(std::span<const std::byte> bytes);

/// Encodes as header.version, which is 3, 4 or 5. kFailed: the mapping has more runs or builds than
/// that version, or E2B's reader, allows.
Result<std::vector<std::byte>> encode_header(const Header& header);

}  // namespace lamina::e2b
