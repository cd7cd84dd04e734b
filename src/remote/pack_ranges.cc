#include "remote/pack_ranges.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/block.h"
#include "base/error.h"

namespace lamina::remote {

PackRanges::PackRanges(packed::PackReader reader, packed::FrameDecoder decoder, std::string key,
                       const PackContents& contents)
    : reader_(std::move(reader)),
      decoder_(std::move(decoder)),
      key_(std::move(key)),
      checksums_(contents.checksums) {
  runs_.reserve(contents.runs.size());
  std::uint32_t number = 0;
  for (const BlockRun& run : contents.runs) {
    runs_.push_back({run, number});
    number += run.count;
  }
  sorted_.resize(runs_.size());
  std::iota(sorted_.begin(), sorted_.end(), 0U);
  std::ranges::sort(sorted_, {}, [this](std::uint32_t i) { return runs_[i].guest.first; });
  for (std::uint32_t frame = 0; frame < reader_.frame_count(); ++frame) {
    const bool fits =
        !ranges_.empty() &&
        reader_.frame_range(frame).end() - reader_.frame_range(ranges_.back().first).offset <=
            kPackRangeBytes;
    if (!fits) ranges_.push_back({frame, frame});
    ranges_.back().end = frame + 1;
  }
}

Result<PackRanges> PackRanges::open(const Manifest& manifest, std::span<const std::byte> index) {
  const WorkingSetPack& pack = *manifest.pack;
  const std::string& key = manifest.reference_of(pack.object).key;
  LAMINA_ASSIGN_OR_RETURN(packed::PackReader reader, open_stored(manifest, pack.object, index));
  if (reader.index().stored_blocks() != pack.contents.blocks()) {
    return fail(ErrorKind::kCorrupt, "pack '{}' stores {} blocks; its manifest says {}", key,
                reader.index().stored_blocks(), pack.contents.blocks());
  }
  LAMINA_ASSIGN_OR_RETURN(packed::FrameDecoder decoder, reader.make_decoder());
  return PackRanges(std::move(reader), std::move(decoder), key, pack.contents);
}

ByteRange PackRanges::bytes_of(std::uint32_t range) const {
  const std::uint64_t offset = reader_.frame_range(ranges_[range].first).offset;
  return {offset, reader_.frame_range(ranges_[range].end - 1).end() - offset};
}

std::optional<std::uint32_t> PackRanges::find(std::uint32_t guest_block) const {
  const auto after = std::ranges::upper_bound(
      sorted_, guest_block, {}, [this](std::uint32_t i) { return runs_[i].guest.first; });
  if (after == sorted_.begin()) return std::nullopt;
  const NumberedRun& run = runs_[*std::prev(after)];
  if (guest_block >= run.guest.end()) return std::nullopt;
  const std::uint32_t number = run.number + (guest_block - run.guest.first);
  const std::uint32_t frame = number / reader_.footer().frame_blocks;
  const auto range = std::ranges::upper_bound(ranges_, frame, {}, &FrameRange::first);
  return static_cast<std::uint32_t>(range - ranges_.begin()) - 1;
}

/// Calls with each piece of a run of numbers that is one run in the guest.
template <typename Call>
Status PackRanges::for_each_piece(BlockRun numbers, Call call) const {
  auto run = std::prev(std::ranges::upper_bound(runs_, numbers.first, {}, &NumberedRun::number));
  for (std::uint32_t number = numbers.first; number < numbers.end(); ++run) {
    const std::uint32_t skipped = number - run->number;
    const std::uint32_t count = std::min(run->guest.count - skipped, numbers.end() - number);
    LAMINA_RETURN_IF_ERROR(call(number, BlockRun{run->guest.first + skipped, count}));
    number += count;
  }
  return {};
}

std::vector<BlockRun> PackRanges::runs_of(std::uint32_t range) const {
  const std::uint32_t first = reader_.blocks_of(ranges_[range].first).first;
  const std::uint32_t end = reader_.blocks_of(ranges_[range].end - 1).end();
  std::vector<BlockRun> runs;
  static_cast<void>(for_each_piece({first, end - first}, [&](std::uint32_t, BlockRun run) {
    runs.push_back(run);
    return Status();
  }));
  return runs;
}

Status PackRanges::decode(std::uint32_t range, std::span<const std::byte> stored,
                          const PackConsumer& consume) {
  const std::uint64_t begin = bytes_of(range).offset;
  std::vector<std::byte> blocks;
  std::vector<std::uint64_t> checksums;
  for (std::uint32_t frame = ranges_[range].first; frame < ranges_[range].end; ++frame) {
    const BlockRun numbers = reader_.blocks_of(frame);
    const ByteRange bytes = reader_.frame_range(frame);
    blocks.resize(numbers.count * kBlockBytes);
    checksums.resize(numbers.count);
    LAMINA_RETURN_IF_ERROR(reader_.decode(
        decoder_, frame, stored.subspan(bytes.offset - begin, bytes.length), checksums, blocks));
    const auto expected = std::span(checksums_).subspan(numbers.first, numbers.count);
    if (!std::ranges::equal(checksums, expected)) {
      return fail(ErrorKind::kCorrupt, "pack '{}' has other blocks than the snapshot's layers",
                  key_);
    }
    LAMINA_RETURN_IF_ERROR(for_each_piece(numbers, [&](std::uint32_t number, BlockRun run) {
      const std::uint32_t skipped = number - numbers.first;
      return consume(run,
                     std::span<const std::byte>(blocks).subspan(skipped * kBlockBytes,
                                                                run.count * kBlockBytes),
                     std::span<const std::uint64_t>(checksums).subspan(skipped, run.count));
    }));
  }
  return {};
}

}  // namespace lamina::remote
