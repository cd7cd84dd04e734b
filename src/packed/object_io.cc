#include "packed/object_io.h"

#include <algorithm>
#include <array>

#include "base/block.h"
#include "base/error.h"
#include "engine/layer_writer.h"
#include "engine/page_cache_policy.h"
#include "engine/transfer.h"
#include "engine/write_behind.h"
#include "format/checksum.h"
#include "os/file.h"
#include "os/sparse_file.h"

namespace lamina::packed {
namespace {

/// Blocks that are read and packed, or decoded and written, at a time: 256 KiB, which fits in the
/// second-level cache. It has room for a frame of any size.
constexpr std::uint32_t kBatchBlocks = 64;
static_assert(kBatchBlocks >= kMaxFrameBlocks);

/// Collects blocks that are read from scattered places, and passes them on in order.
class Gatherer {
 public:
  Gatherer(PackWriter& writer, Progress* progress)
      : writer_(writer), progress_(progress), buffer_(kBatchBlocks * kBlockBytes) {}

  /// Room for 1 to `wanted` blocks.
  Result<std::span<std::byte>> room(std::uint32_t wanted) {
    if (used_blocks_ == kBatchBlocks) LAMINA_RETURN_IF_ERROR(flush());
    const std::uint32_t count = std::min(wanted, kBatchBlocks - used_blocks_);
    const auto part = std::span(buffer_).subspan(used_blocks_ * kBlockBytes, count * kBlockBytes);
    used_blocks_ += count;
    return part;
  }

  Status flush() {
    const auto blocks = std::span(buffer_).first(used_blocks_ * kBlockBytes);
    used_blocks_ = 0;
    LAMINA_RETURN_IF_ERROR(writer_.add(blocks));
    return engine::advance(progress_, blocks.size());
  }

 private:
  PackWriter& writer_;
  Progress* progress_;
  std::vector<std::byte> buffer_;
  std::uint32_t used_blocks_ = 0;
};

std::vector<mapping::Extent> extents_of_layer(const format::Trailer& trailer,
                                              mapping::LayerIndex index) {
  std::vector<mapping::Extent> extents;
  extents.reserve(trailer.extents.size());
  for (const mapping::StoredExtent& extent : trailer.extents) {
    extents.push_back({extent.guest_block, extent.block_count, index, extent.storage_block});
  }
  return extents;
}

Status add_layer(const engine::Chain& chain, std::span<const mapping::Extent> extents,
                 PackWriter& writer, Progress* progress) {
  engine::PageCachePolicy cache_policy(chain, extents, -1);
  Gatherer gatherer(writer, progress);
  std::uint64_t read_blocks = 0;
  for (const mapping::Extent& extent : extents) {
    const engine::Layer& layer = chain.layer(extent.layer);
    for (std::uint32_t done = 0; done < extent.block_count;) {
      LAMINA_ASSIGN_OR_RETURN(const auto room, gatherer.room(extent.block_count - done));
      const auto count = static_cast<std::uint32_t>(room.size() / kBlockBytes);
      cache_policy.before_read(read_blocks);
      // Not read_checked(): the writer verifies every block.
      LAMINA_RETURN_IF_ERROR(layer.read_unchecked(extent.storage_block + done, room));
      read_blocks += count;
      cache_policy.after_read(
          {extent.guest_block + done, count, extent.layer, extent.storage_block + done},
          read_blocks);
      done += count;
    }
  }
  LAMINA_RETURN_IF_ERROR(gatherer.flush());
  return cache_policy.finish(read_blocks);
}

Status add_file(const PackedFileInput& input, PackWriter& writer, Progress* progress) {
  Gatherer gatherer(writer, progress);
  for (const BlockRun& run : input.runs) {
    for (std::uint32_t done = 0; done < run.count;) {
      LAMINA_ASSIGN_OR_RETURN(const auto room, gatherer.room(run.count - done));
      const std::uint64_t offset = (std::uint64_t{run.first} + done) * kBlockBytes;
      const std::uint64_t there = std::min<std::uint64_t>(room.size(), input.size_bytes - offset);
      LAMINA_RETURN_IF_ERROR(
          os::read_exactly_at(input.file, room.first(there), offset, input.path));
      std::fill(room.begin() + static_cast<std::ptrdiff_t>(there), room.end(), std::byte{0});
      done += static_cast<std::uint32_t>(room.size() / kBlockBytes);
    }
  }
  return gatherer.flush();
}

/// Writes decoded blocks to their places.
class Placer {
 public:
  Placer(const ObjectIndex& index, std::uint64_t limit_bytes, int fd, const std::string& path)
      : index_(index), limit_bytes_(limit_bytes), fd_(fd), path_(path), behind_(fd) {}

  /// Writes the next stored blocks.
  Status write(std::span<const std::byte> blocks) {
    while (!blocks.empty()) {
      const mapping::StoredExtent& extent = index_.extents[extent_];
      const auto wanted = static_cast<std::uint32_t>(blocks.size() / kBlockBytes);
      const std::uint32_t count = std::min(wanted, extent.block_count - done_in_extent_);
      LAMINA_RETURN_IF_ERROR(
          add(extent.storage_block + done_in_extent_, blocks.first(count * kBlockBytes)));
      blocks = blocks.subspan(count * kBlockBytes);
      done_in_extent_ += count;
      if (done_in_extent_ < extent.block_count) continue;
      ++extent_;
      done_in_extent_ = 0;
    }
    return flush();
  }

 private:
  /// Blocks that are adjacent in the file are written at once. In the buffer they are adjacent
  /// anyway.
  Status add(std::uint64_t storage_block, std::span<const std::byte> blocks) {
    if (storage_block != first_ + run_.size() / kBlockBytes) {
      LAMINA_RETURN_IF_ERROR(flush());
      first_ = storage_block;
    }
    run_ = run_.empty() ? blocks : std::span(run_.data(), run_.size() + blocks.size());
    return {};
  }

  Status flush() {
    const std::uint64_t offset = first_ * kBlockBytes;
    const auto bytes = run_.first(std::min<std::uint64_t>(run_.size(), limit_bytes_ - offset));
    first_ += run_.size() / kBlockBytes;
    run_ = {};
    if (bytes.empty()) return {};
    LAMINA_RETURN_IF_ERROR(os::write_at(fd_, bytes, offset, path_));
    behind_.written_until(offset + bytes.size());
    return {};
  }

  const ObjectIndex& index_;
  std::uint64_t limit_bytes_;
  int fd_;
  const std::string& path_;
  engine::WriteBehind behind_;
  std::size_t extent_ = 0;
  std::uint32_t done_in_extent_ = 0;
  std::uint64_t first_ = 0;
  std::span<const std::byte> run_;
};

/// Decodes all frames of an object in order.
class Unpacker {
 public:
  Unpacker(const PackReader& reader, FrameDecoder decoder, const Source& source)
      : reader_(reader),
        decoder_(std::move(decoder)),
        source_(source),
        blocks_(kBatchBlocks * kBlockBytes) {}

  /// Passes the blocks to `placer`; returns their checksums.
  Result<std::vector<std::uint64_t>> run(Placer& placer, Progress* progress) {
    std::vector<std::uint64_t> checksums;
    for (std::uint32_t frame = 0; frame < reader_.frame_count();) {
      LAMINA_ASSIGN_OR_RETURN(const std::uint32_t end, read_batch(frame));
      std::size_t used = 0;
      for (; frame < end; ++frame) {
        const BlockRun run = reader_.blocks_of(frame);
        // The vector grows with what was decoded, not by what the index claims.
        checksums.resize(checksums.size() + run.count);
        const auto blocks = std::span(blocks_).subspan(used, run.count * kBlockBytes);
        LAMINA_RETURN_IF_ERROR(reader_.decode(decoder_, frame, stored_of(frame),
                                              std::span(checksums).last(run.count), blocks));
        used += blocks.size();
      }
      LAMINA_RETURN_IF_ERROR(placer.write(std::span(blocks_).first(used)));
      LAMINA_RETURN_IF_ERROR(engine::advance(progress, used));
    }
    return checksums;
  }

 private:
  /// Reads the stored bytes of as many frames from `first` on as the buffer of blocks takes.
  /// Returns the frame after them.
  Result<std::uint32_t> read_batch(std::uint32_t first) {
    const std::uint32_t most = kBatchBlocks / reader_.footer().frame_blocks;
    const std::uint32_t end = first + std::min(most, reader_.frame_count() - first);
    const ByteRange last = reader_.frame_range(end - 1);
    batch_offset_ = reader_.frame_range(first).offset;
    stored_.resize(last.end() - batch_offset_);
    LAMINA_RETURN_IF_ERROR(source_(batch_offset_, stored_));
    return end;
  }

  [[nodiscard]] std::span<const std::byte> stored_of(std::uint32_t frame) const {
    const ByteRange range = reader_.frame_range(frame);
    return std::span(stored_).subspan(range.offset - batch_offset_, range.length);
  }

  const PackReader& reader_;
  FrameDecoder decoder_;
  const Source& source_;
  std::vector<std::byte> stored_;
  std::uint64_t batch_offset_ = 0;
  std::vector<std::byte> blocks_;
};

Status finish_unpacked_layer(const PackReader& reader, std::vector<std::uint64_t> checksums, int fd,
                             const std::string& path) {
  const ObjectIndex& index = reader.index();
  if (format::checksum64(std::as_bytes(std::span(checksums))) != index.checksums_digest) {
    return fail(ErrorKind::kCorrupt,
                "the checksums of the blocks of layer {} are not those that its trailer had",
                index.trailer.build_id.to_string());
  }
  format::Trailer trailer = index.trailer;
  trailer.checksums = std::move(checksums);
  return engine::finish_layer(fd, trailer, path);
}

}  // namespace

Result<PackedObject> pack_layer(const engine::Chain& chain, mapping::LayerIndex index,
                                const PackSettings& settings, Sink sink, Progress* progress) {
  const engine::Layer& layer = chain.layer(index);
  if (!layer.trailer()) {
    return fail(ErrorKind::kUnsupported, "layer '{}' has no checksums, and is not packed without",
                layer.path());
  }
  LAMINA_ASSIGN_OR_RETURN(PackWriter writer,
                          PackWriter::for_layer(*layer.trailer(), settings, std::move(sink)));
  const auto extents = extents_of_layer(*layer.trailer(), index);
  const Status added = add_layer(chain, extents, writer, progress);
  if (!added) {
    if (added.error().kind != ErrorKind::kCorrupt) return std::unexpected(added.error());
    return std::unexpected(with_context(fmt::format("layer '{}'", layer.path()), added.error()));
  }
  return writer.finish();
}

Result<std::vector<BlockRun>> data_runs(int fd, std::uint64_t size_bytes, const std::string& path) {
  if (blocks_for(size_bytes) > kMaxBlocks) {
    return fail(ErrorKind::kUnsupported, "'{}' has {} bytes; at most {} can be packed", path,
                size_bytes, kMaxBlocks * kBlockBytes);
  }
  LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> written,
                          os::written_ranges(fd, size_bytes, path));
  std::vector<BlockRun> runs;
  for (const ByteRange& range : written) {
    if (range.length == 0) continue;
    const auto first = static_cast<std::uint32_t>(range.offset / kBlockBytes);
    const auto end = static_cast<std::uint32_t>(blocks_for(std::min(range.end(), size_bytes)));
    if (!runs.empty() && first <= runs.back().end()) {
      runs.back().count = std::max(end, runs.back().end()) - runs.back().first;
    } else {
      runs.push_back({first, end - first});
    }
  }
  return runs;
}

Result<PackedObject> pack_file(const PackedFileInput& input, const PackSettings& settings,
                               Sink sink, Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(PackWriter writer, PackWriter::for_file(input.size_bytes, input.runs,
                                                                  settings, std::move(sink)));
  LAMINA_RETURN_IF_ERROR(add_file(input, writer, progress));
  return writer.finish();
}

Result<PackReader> open_object(const Source& source, std::uint64_t object_bytes,
                               ObjectIdentity identity) {
  if (object_bytes < kObjectFooterBytes) {
    return fail(ErrorKind::kCorrupt, "packed object '{}' has {} bytes, fewer than its footer of {}",
                identity.shown(), object_bytes, kObjectFooterBytes);
  }
  std::array<std::byte, kObjectFooterBytes> footer_bytes{};
  LAMINA_RETURN_IF_ERROR(source(object_bytes - footer_bytes.size(), footer_bytes));
  const auto footer = decode_object_footer(footer_bytes, object_bytes);
  if (!footer) {
    return std::unexpected(
        with_context(fmt::format("packed object '{}'", identity.shown()), footer.error()));
  }
  std::vector<std::byte> index(footer->index_bytes);
  LAMINA_RETURN_IF_ERROR(source(footer->index_range().offset, index));
  return PackReader::open(footer_bytes, index, object_bytes, std::move(identity));
}

Status unpack_object(const PackReader& reader, const Source& source, int fd,
                     const std::string& path, Progress* progress) {
  const bool is_layer = reader.kind() == ObjectKind::kLayer;
  const ObjectIndex& index = reader.index();
  const std::uint64_t limit = is_layer ? index.trailer.data_blocks * kBlockBytes : index.file_bytes;
  LAMINA_ASSIGN_OR_RETURN(FrameDecoder decoder, reader.make_decoder());
  Placer placer(index, limit, fd, path);
  LAMINA_ASSIGN_OR_RETURN(std::vector<std::uint64_t> checksums,
                          Unpacker(reader, std::move(decoder), source).run(placer, progress));
  if (is_layer) return finish_unpacked_layer(reader, std::move(checksums), fd, path);
  LAMINA_RETURN_IF_ERROR(os::truncate(fd, index.file_bytes, path));
  return os::sync(fd, path);
}

}  // namespace lamina::packed
