#include "engine/layer.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/block.h"
#include "base/error.h"
#include "engine/block_scan.h"
#include "os/sparse_file.h"

namespace lamina::engine {
namespace {

std::string describe(const std::string& path) { return fmt::format("layer '{}'", path); }

/// A longer trailer must be free of holes before memory is allocated for it.
constexpr std::uint64_t kMaxUncheckedBytes = std::uint64_t{1} << 20;

/// Reads the trailer of a layer file; nullopt if it has none.
Result<std::optional<format::Trailer>> read_trailer(int fd, std::uint64_t file_bytes,
                                                    const std::string& path, Checksums checksums) {
  if (file_bytes < format::kFooterBytes) return std::nullopt;
  std::array<std::byte, format::kFooterBytes> footer_bytes{};
  LAMINA_RETURN_IF_ERROR(
      os::read_exactly_at(fd, footer_bytes, file_bytes - footer_bytes.size(), path));
  const auto footer = format::decode_footer(footer_bytes, file_bytes);
  if (!footer) return std::unexpected(with_context(describe(path), footer.error()));
  if (!*footer) return std::nullopt;
  // trailer_bytes <= file_bytes was checked, but a sparse file can have any size.
  const std::uint64_t start = file_bytes - (*footer)->trailer_bytes;
  const bool load = checksums == Checksums::kLoad;
  const std::uint64_t length = load ? (*footer)->trailer_bytes : (*footer)->lists_bytes;
  if (length > kMaxUncheckedBytes) {
    LAMINA_ASSIGN_OR_RETURN(const bool stored, os::is_stored(fd, start, start + length, path));
    if (!stored) {
      return fail(ErrorKind::kCorrupt, "layer '{}' has a hole in its trailer of {} bytes", path,
                  (*footer)->trailer_bytes);
    }
  }
  std::vector<std::byte> bytes(length);
  LAMINA_RETURN_IF_ERROR(os::read_exactly_at(fd, bytes, start, path));
  auto trailer = load ? format::decode_trailer(bytes, file_bytes)
                      : format::decode_trailer_lists(bytes, footer_bytes, file_bytes);
  if (!trailer) return std::unexpected(with_context(describe(path), trailer.error()));
  return std::optional(std::move(*trailer));
}

}  // namespace

Result<Layer> Layer::open(int directory, const std::string& name, const std::string& path,
                          const Uuid& build_id, bool expect_trailer, Checksums checksums) {
  Layer layer;
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile opened, os::open_regular(directory, name, O_RDONLY, path));
  layer.fd_ = std::move(opened.fd);
  layer.facts_ = opened.facts;
  layer.path_ = path;
  layer.build_id_ = build_id;
  LAMINA_ASSIGN_OR_RETURN(layer.trailer_,
                          read_trailer(layer.fd_.get(), layer.facts_.size_bytes, path, checksums));
  if (!layer.trailer_) {
    if (expect_trailer) {
      return fail(ErrorKind::kCorrupt,
                  "layer '{}' has no trailer, but was written with one: it is truncated or altered",
                  path);
    }
    layer.data_blocks_ = blocks_for(layer.facts_.size_bytes);
    return layer;
  }
  if (layer.trailer_->build_id != build_id) {
    return fail(ErrorKind::kCorrupt, "layer '{}' holds build {}, not {}", path,
                layer.trailer_->build_id.to_string(), build_id.to_string());
  }
  layer.data_blocks_ = layer.trailer_->data_blocks;
  return layer;
}

Status Layer::check_extent(const mapping::Extent& extent) const {
  const std::uint64_t storage_end = std::uint64_t{extent.storage_block} + extent.block_count;
  if (storage_end > data_blocks_) {
    return fail(ErrorKind::kCorrupt,
                "extent at {:#x} ends at {:#x} of layer '{}', past its data's end {:#x}",
                extent.guest_block * kBlockBytes, storage_end * kBlockBytes, path_,
                data_blocks_ * kBlockBytes);
  }
  if (!trailer_) return {};
  const mapping::StoredExtent* stored = format::find_stored(*trailer_, extent.guest_block);
  const bool inside =
      stored != nullptr &&
      extent.block_count <= stored->block_count - (extent.guest_block - stored->guest_block) &&
      extent.storage_block - extent.guest_block == stored->storage_block - stored->guest_block;
  if (!inside) {
    return fail(ErrorKind::kCorrupt,
                "extent at {:#x} of {} blocks at storage offset {:#x} does not match the trailer "
                "of layer '{}'",
                extent.guest_block * kBlockBytes, extent.block_count,
                extent.storage_block * kBlockBytes, path_);
  }
  return {};
}

Status Layer::read_unchecked(std::uint32_t storage_block, std::span<std::byte> buffer) const {
  const std::uint64_t offset = storage_block * kBlockBytes;
  LAMINA_ASSIGN_OR_RETURN(const std::size_t count, os::read_at(fd(), buffer, offset, path_));
  if (count == buffer.size()) return {};
  // Only the last block of a legacy layer may be short.
  if (trailer_ || offset + count != facts_.size_bytes || buffer.size() - count >= kBlockBytes) {
    return fail(ErrorKind::kCorrupt, "layer '{}' ends at {:#x}, before {:#x}: it is truncated",
                path_, offset + count, offset + buffer.size());
  }
  std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(count), buffer.end(), std::byte{0});
  return {};
}

std::span<const std::uint64_t> Layer::checksums(const mapping::Extent& extent) const {
  if (!trailer_) return {};
  // Opened with Checksums::kSkip: blocks would pass unchecked.
  if (trailer_->checksums.size() != trailer_->stored_blocks()) std::abort();
  const mapping::StoredExtent* stored = format::find_stored(*trailer_, extent.guest_block);
  return std::span(trailer_->checksums)
      .subspan(stored->checksum_index + (extent.guest_block - stored->guest_block),
               extent.block_count);
}

Status Layer::bad_block(const mapping::Extent& extent, std::size_t number) const {
  return fail(ErrorKind::kCorrupt,
              "layer '{}': the block at {:#x} (guest {:#x}) does not match its checksum", path_,
              (extent.storage_block + number) * kBlockBytes,
              (extent.guest_block + number) * kBlockBytes);
}

Status Layer::read_checked(const mapping::Extent& extent, std::span<std::byte> buffer) const {
  if (trailer_ && trailer_->checksums.empty()) return read_with_checksums_in_file(extent, buffer);
  LAMINA_RETURN_IF_ERROR(read_unchecked(extent.storage_block, buffer));
  const auto expected = checksums(extent);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (block_checksum(buffer.subspan(i * kBlockBytes, kBlockBytes)) != expected[i]) {
      return bad_block(extent, i);
    }
  }
  return {};
}

Status Layer::read_with_checksums_in_file(const mapping::Extent& extent,
                                          std::span<std::byte> buffer) const {
  constexpr std::uint32_t kPartBlocks = 64;
  const mapping::StoredExtent* stored = format::find_stored(*trailer_, extent.guest_block);
  const std::uint64_t first = stored->checksum_index + (extent.guest_block - stored->guest_block);
  const std::uint64_t column =
      facts_.size_bytes - format::kFooterBytes - trailer_->stored_blocks() * sizeof(std::uint64_t);
  LAMINA_RETURN_IF_ERROR(read_unchecked(extent.storage_block, buffer));
  std::array<std::uint64_t, kPartBlocks> expected{};
  for (std::uint32_t done = 0; done < extent.block_count;) {
    const std::uint32_t count = std::min(kPartBlocks, extent.block_count - done);
    const auto part = std::span(expected).first(count);
    LAMINA_RETURN_IF_ERROR(os::read_exactly_at(fd(), std::as_writable_bytes(part),
                                               column + (first + done) * sizeof(std::uint64_t),
                                               path_));
    for (std::uint32_t i = 0; i < count; ++i, ++done) {
      if (block_checksum(buffer.subspan(done * kBlockBytes, kBlockBytes)) != part[i]) {
        return bad_block(extent, done);
      }
    }
  }
  return {};
}

}  // namespace lamina::engine
