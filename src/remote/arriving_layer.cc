#include "remote/arriving_layer.h"

#include <algorithm>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "engine/block_scan.h"
#include "format/checksum.h"
#include "format/trailer.h"
#include "os/file.h"

namespace lamina::remote {

Status begin_arriving_layer(const packed::PackReader& reader, int fd, const std::string& path) {
  const packed::ObjectIndex& index = reader.index();
  const format::TrailerEnds ends =
      format::encode_trailer_ends(index.trailer, index.checksums_digest);
  const std::uint64_t data_bytes = index.trailer.data_blocks * kBlockBytes;
  const std::uint64_t column_bytes = index.trailer.stored_blocks() * sizeof(std::uint64_t);
  const std::uint64_t footer = data_bytes + ends.lists.size() + column_bytes;
  if (footer + ends.footer.size() != index.layer_bytes) {
    return fail(ErrorKind::kCorrupt, "layer {} has {} bytes, its index says {}",
                index.trailer.build_id.to_string(), footer + ends.footer.size(), index.layer_bytes);
  }
  LAMINA_RETURN_IF_ERROR(os::truncate(fd, index.layer_bytes, path));
  LAMINA_RETURN_IF_ERROR(os::write_at(fd, ends.lists, data_bytes, path));
  LAMINA_RETURN_IF_ERROR(os::write_at(fd, ends.footer, footer, path));
  return os::sync(fd, path);
}

ArrivingLayer::ArrivingLayer(packed::PackReader reader, packed::FrameDecoder decoder, os::Fd fd,
                             std::string path)
    : reader_(std::move(reader)),
      decoder_(std::move(decoder)),
      fd_(std::move(fd)),
      path_(std::move(path)),
      blocks_(reader_.footer().frame_blocks * kBlockBytes),
      checksums_(reader_.footer().frame_blocks) {}

Result<ArrivingLayer> ArrivingLayer::create(packed::PackReader reader, os::Fd fd,
                                            std::string path) {
  LAMINA_ASSIGN_OR_RETURN(packed::FrameDecoder decoder, reader.make_decoder());
  return ArrivingLayer(std::move(reader), std::move(decoder), std::move(fd), std::move(path));
}

std::uint64_t ArrivingLayer::column_offset() const {
  const packed::ObjectIndex& index = reader_.index();
  return index.layer_bytes - format::kFooterBytes -
         index.trailer.stored_blocks() * sizeof(std::uint64_t);
}

template <typename Call>
Status ArrivingLayer::for_each_part(std::uint32_t frame, Call call) const {
  const BlockRun numbers = reader_.blocks_of(frame);
  const auto& extents = reader_.index().extents;
  auto extent =
      std::ranges::upper_bound(extents, numbers.first, {}, &mapping::StoredExtent::checksum_index);
  if (extent == extents.begin()) return {};
  --extent;
  for (std::uint32_t number = numbers.first; number < numbers.end() && extent != extents.end();
       ++extent) {
    const std::uint32_t skipped = number - extent->checksum_index;
    const std::uint32_t count = std::min(extent->block_count - skipped, numbers.end() - number);
    LAMINA_RETURN_IF_ERROR(
        call(FramePart{extent->guest_block + skipped, extent->storage_block + skipped,
                       number - numbers.first, count}));
    number += count;
  }
  return {};
}

Status ArrivingLayer::place(std::uint32_t frame, std::span<const std::byte> stored) {
  const BlockRun numbers = reader_.blocks_of(frame);
  const auto checksums = std::span(checksums_).first(numbers.count);
  const auto blocks = std::span(blocks_).first(numbers.count * kBlockBytes);
  LAMINA_RETURN_IF_ERROR(reader_.decode(decoder_, frame, stored, checksums, blocks));
  LAMINA_RETURN_IF_ERROR(for_each_part(frame, [&](const FramePart& part) {
    return os::write_at(fd_.get(),
                        blocks.subspan(part.first * kBlockBytes, part.count * kBlockBytes),
                        part.storage_block * kBlockBytes, path_);
  }));
  return os::write_at(fd_.get(), std::as_bytes(checksums),
                      column_offset() + numbers.first * sizeof(std::uint64_t), path_);
}

Status ArrivingLayer::place_blocks(BlockRun run, std::span<const std::byte> blocks,
                                   std::span<const std::uint64_t> checksums) {
  const auto& extents = reader_.index().extents;
  auto extent =
      std::ranges::upper_bound(extents, run.first, {}, &mapping::StoredExtent::guest_block);
  if (extent != extents.begin()) --extent;
  for (; extent != extents.end() && extent->guest_block < run.end(); ++extent) {
    const std::uint32_t first = std::max(run.first, extent->guest_block);
    const std::uint32_t end = std::min(run.end(), extent->guest_end());
    if (first >= end) continue;
    const std::uint32_t in_run = first - run.first;
    const std::uint32_t in_extent = first - extent->guest_block;
    LAMINA_RETURN_IF_ERROR(
        os::write_at(fd_.get(), blocks.subspan(in_run * kBlockBytes, (end - first) * kBlockBytes),
                     (std::uint64_t{extent->storage_block} + in_extent) * kBlockBytes, path_));
    LAMINA_RETURN_IF_ERROR(
        os::write_at(fd_.get(), std::as_bytes(checksums.subspan(in_run, end - first)),
                     column_offset() + (std::uint64_t{extent->checksum_index} + in_extent) *
                                           sizeof(std::uint64_t),
                     path_));
  }
  return {};
}

Result<bool> ArrivingLayer::is_here(std::uint32_t frame) {
  const BlockRun numbers = reader_.blocks_of(frame);
  const auto checksums = std::span(checksums_).first(numbers.count);
  LAMINA_RETURN_IF_ERROR(
      os::read_exactly_at(fd_.get(), std::as_writable_bytes(checksums),
                          column_offset() + numbers.first * sizeof(std::uint64_t), path_));
  // Never written. (A checksum that is zero by chance costs a second fetch.)
  if (std::ranges::find(checksums, 0U) != checksums.end()) return false;
  const auto blocks = std::span(blocks_).first(numbers.count * kBlockBytes);
  LAMINA_RETURN_IF_ERROR(for_each_part(frame, [&](const FramePart& part) {
    return os::read_exactly_at(fd_.get(),
                               blocks.subspan(part.first * kBlockBytes, part.count * kBlockBytes),
                               part.storage_block * kBlockBytes, path_);
  }));
  for (std::uint32_t i = 0; i < numbers.count; ++i) {
    const auto block = blocks.subspan(i * kBlockBytes, kBlockBytes);
    if (engine::block_checksum(block) != checksums[i]) return false;
  }
  return true;
}

void ArrivingLayer::for_each_guest_run(std::uint32_t frame,
                                       const std::function<void(const BlockRun&)>& call) const {
  static_cast<void>(for_each_part(frame, [&](const FramePart& part) -> Status {
    call({part.guest_block, part.count});
    return {};
  }));
}

Result<bool> ArrivingLayer::finish() const {
  LAMINA_RETURN_IF_ERROR(os::sync(fd_.get(), path_));
  std::vector<std::byte> column(reader_.index().trailer.stored_blocks() * sizeof(std::uint64_t));
  LAMINA_RETURN_IF_ERROR(os::read_exactly_at(fd_.get(), column, column_offset(), path_));
  return format::checksum64(column) == reader_.index().checksums_digest;
}

}  // namespace lamina::remote
