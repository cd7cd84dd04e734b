// Attached files in a bucket: of which parts a file consists (docs/format.md, "Records and pins of
// a bucket").
//
// An attached file, a disk for example, is large, and little of it differs from that of the state
// before. So it consists of parts. A part is a packed file with some of the file's blocks, each at
// its own place. The newest part has what differed from the parent's file when it was pushed; the
// others are the parent's, by reference. The map says which part has which block; blocks that are
// not in it are holes. So a hole needs no mark in a part, parts need no order among themselves, and
// any part can be replaced by uploading the blocks that the map takes from it.
//
// Behind its blocks, each part has their digests (packed/block_digest.h), 16 bytes each, in whole
// blocks. A push compares its local file with these, and needs nothing else of what is there.
// They are at the end so that a pull, which computes its own, need not fetch them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/block.h"
#include "base/bytes.h"
#include "base/run.h"

namespace lamina::remote {

/// A file consists of at most so many parts. A push makes fewer (file_difference.h).
inline constexpr std::size_t kMaxFileParts = 64;
/// A map has at most so many runs.
inline constexpr std::size_t kMaxMapRuns = std::size_t{1} << 20;
inline constexpr std::size_t kBlockDigestBytes = 16;
inline constexpr std::size_t kDigestsPerBlock = kBlockBytes / kBlockDigestBytes;

/// A packed object as the manifest describes it.
struct StoredObject {
  std::uint32_t reference = 0;  ///< Record::references
  std::vector<std::byte> footer;
  std::vector<std::byte> index;  ///< as stored; empty: it is only in the object

  bool operator==(const StoredObject&) const = default;
};

struct FilePart {
  StoredObject object;
  std::uint32_t data_blocks = 0;  ///< blocks of the file that it stores; then come their digests

  bool operator==(const FilePart&) const = default;
};

/// Blocks of a file that one part has.
struct MappedRun {
  BlockRun run;
  std::uint8_t part = 0;

  bool operator==(const MappedRun&) const = default;
};

struct PartedFile {
  std::vector<FilePart> parts;
  /// In order. Empty: the only part has all blocks.
  std::vector<MappedRun> map;

  bool operator==(const PartedFile&) const = default;
};

/// Blocks of a part for the digests of that many blocks.
constexpr std::uint64_t digest_blocks_for(std::uint64_t data_blocks) {
  return (data_blocks + kDigestsPerBlock - 1) / kDigestsPerBlock;
}

/// Appends a run to a map, or extends its last one.
void append_run(std::vector<MappedRun>& map, BlockRun run, std::uint8_t part);

void put_stored_object(ByteWriter& writer, const StoredObject& object);
StoredObject get_stored_object(ByteReader& reader);

void put_parted_file(ByteWriter& writer, const PartedFile& file);
/// Reads untrusted bytes; where they end, the reader is no longer ok().
PartedFile get_parted_file(ByteReader& reader);

/// What is wrong with the parts and the map of a file of `size_bytes`, apart from the objects;
/// empty: nothing.
std::string_view flaw_of(const PartedFile& file, std::uint64_t size_bytes);

}  // namespace lamina::remote
