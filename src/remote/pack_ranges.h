// The pack of a snapshot that arrives, as ranges of its object that are fetched one by one, so that
// other requests can go between them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/run.h"
#include "lamina/result.h"
#include "packed/frame_codec.h"
#include "packed/pack_reader.h"
#include "remote/manifest.h"
#include "remote/working_set_pack.h"

namespace lamina::remote {

/// Bytes of one range: the blocks of a range can be used when all of it is here.
inline constexpr std::uint64_t kPackRangeBytes = std::uint64_t{2} << 20;

/// Not thread-safe.
class PackRanges {
 public:
  /// `index`: of the pack's object, if the manifest does not have it. kCorrupt as for fetch_pack().
  /// REQUIRES: the manifest has a pack.
  static Result<PackRanges> open(const Manifest& manifest, std::span<const std::byte> index);

  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(ranges_.size()); }
  /// REQUIRES: range < count().
  [[nodiscard]] ByteRange bytes_of(std::uint32_t range) const;

  /// The first range that has data of that block of the guest; nullopt: the pack does not have it.
  [[nodiscard]] std::optional<std::uint32_t> find(std::uint32_t guest_block) const;

  /// The blocks of the guest that a range has, in the order of first touch.
  [[nodiscard]] std::vector<BlockRun> runs_of(std::uint32_t range) const;

  /// Decodes a range and passes its blocks on. Each was checked against its checksum in the
  /// manifest. kCorrupt: the bytes are damaged; else the errors of `consume`.
  Status decode(std::uint32_t range, std::span<const std::byte> stored,
                const PackConsumer& consume);

 private:
  /// A run of the contents, with the number of its first block in the pack.
  struct NumberedRun {
    BlockRun guest;
    std::uint32_t number = 0;
  };
  /// Frames [first, end).
  struct FrameRange {
    std::uint32_t first = 0;
    std::uint32_t end = 0;
  };

  PackRanges(packed::PackReader reader, packed::FrameDecoder decoder, std::string key,
             const PackContents& contents);
  template <typename Call>
  Status for_each_piece(BlockRun numbers, Call call) const;

  packed::PackReader reader_;
  packed::FrameDecoder decoder_;
  std::string key_;
  std::vector<std::uint64_t> checksums_;
  std::vector<NumberedRun> runs_;      ///< by number
  std::vector<std::uint32_t> sorted_;  ///< indices of runs_, by guest block
  std::vector<FrameRange> ranges_;
};

}  // namespace lamina::remote
