// What of an attached file a push must send: the blocks that differ from those of a file in the
// bucket, as a new part beside the parts that are there (file_parts.h).
//
// Which parts are kept:
//
// - A part of which more than half of the blocks are no longer needed is given up, and the others
//   are sent again. So a file never keeps more than twice its blocks in the bucket.
// - At most kMaxPushedParts. Beyond that, the smallest ones are given up, and further ones as long
//   as they are not much larger than what is sent anyway. So a block is sent again a number of
//   times that is logarithmic in the size of the file, as with the tiered merges of layers.
// - If the map had too many runs, blocks around those that differ are sent too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "packed/block_digest.h"
#include "packed/pack_writer.h"
#include "remote/base_file.h"
#include "remote/local_files.h"

namespace lamina::remote {

/// A file consists of at most so many parts after a push.
inline constexpr std::size_t kMaxPushedParts = 8;
/// The maps of all files of a snapshot have at most so many runs, unless the files themselves have
/// more holes.
inline constexpr std::size_t kMaxPushedRuns = std::size_t{1} << 18;

/// Not thread-safe.
class FileDifference {
 public:
  /// `file` must outlive this. `path` is for messages.
  FileDifference(const LocalFile& file, std::string path, std::size_t max_runs = kMaxPushedRuns)
      : file_(&file), path_(std::move(path)), max_runs_(max_runs) {}

  /// Reads the whole file for the digests of its blocks, if that was not done: 16 bytes of memory
  /// for each block that is not a hole. kBusy: the file was changed since it was opened;
  /// kInterrupted.
  Status scan(Progress* progress);

  // What follows REQUIRES scan().

  [[nodiscard]] const format::FileDigest& contents() const { return contents_; }

  /// Compares with a file in the bucket. May be called once.
  void compare(BaseFile base);
  [[nodiscard]] bool has_base() const { return has_base_; }

  /// The parts of the base that are kept, in order.
  [[nodiscard]] std::vector<const BasePart*> kept_parts() const;

  /// Gives up the part with this key. False: it is not kept.
  bool give_up(const std::string& key);

  /// The blocks of the file that must be sent, and their number.
  [[nodiscard]] const std::vector<BlockRun>& changed_runs() const { return changed_; }
  [[nodiscard]] std::uint32_t changed_blocks() const { return changed_blocks_; }

  /// The map of a file that has the kept parts and then, if anything is changed, a new one.
  [[nodiscard]] const std::vector<MappedRun>& map() const { return map_; }

  /// Packs the changed blocks and their digests. kBusy: the file is not as it was scanned. Else as
  /// packed::pack_file().
  Result<packed::PackedObject> pack(const packed::PackSettings& settings, packed::Sink sink,
                                    Progress* progress) const;

 private:
  class Packing;

  void settle();
  void take(std::vector<std::uint8_t>& parts, std::uint8_t part) const;
  void choose_parts(std::vector<std::uint8_t>& parts);
  void widen(std::vector<std::uint8_t>& parts, std::uint32_t group) const;
  void make_map(const std::vector<std::uint8_t>& parts);
  [[nodiscard]] std::vector<std::uint32_t> live_blocks(
      const std::vector<std::uint8_t>& parts) const;

  const LocalFile* file_;
  std::string path_;
  std::size_t max_runs_;
  bool is_scanned_ = false;
  bool has_base_ = false;
  format::FileDigest contents_;
  std::vector<packed::BlockDigest> digests_;  ///< of the blocks that are not holes, in order
  std::vector<BasePart> base_;
  std::vector<std::uint8_t> same_in_;  ///< of each block, parallel to digests_: a part, or kNone
  std::vector<std::uint8_t> kept_;     ///< parts
  std::vector<BlockRun> changed_;
  std::uint32_t changed_blocks_ = 0;
  std::vector<MappedRun> map_;
};

}  // namespace lamina::remote
