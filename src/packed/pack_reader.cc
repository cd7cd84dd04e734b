#include "packed/pack_reader.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "format/checksum.h"

namespace lamina::packed {
namespace {

std::string describe_object(const ObjectIdentity& identity) {
  return fmt::format("packed object '{}'", identity.shown());
}

}  // namespace

Result<Sealer> PackReader::make_sealer() const {
  return Sealer::create(*identity_.key, SealedObject{kObjectMagic, kObjectVersion, identity_.name,
                                                     footer_.frame_count});
}

Status PackReader::check_identity() const {
  const bool is_sealed = footer_.seal != SealAlgorithm::kNone;
  if (!is_sealed && identity_.key) {
    return fail(ErrorKind::kFailed,
                "it is not encrypted, but must be: it is not what was stored under this name");
  }
  if (!is_sealed) return {};
  if (footer_.name_digest != format::checksum64(std::as_bytes(std::span(identity_.name)))) {
    return fail(ErrorKind::kCorrupt, "it was encrypted as an object of another name");
  }
  if (!identity_.key) {
    return fail(ErrorKind::kPermission, "it is encrypted, and there is no key for it");
  }
  if (identity_.key->check_value() != footer_.key_check) {
    return fail(ErrorKind::kPermission, "it is encrypted with another key");
  }
  return {};
}

Result<PackReader> PackReader::open(std::span<const std::byte> footer,
                                    std::span<const std::byte> index, std::uint64_t object_bytes,
                                    ObjectIdentity identity) {
  PackReader reader;
  reader.identity_ = std::move(identity);
  reader.footer_digest_ = format::checksum64(footer);
  const auto opened = [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(reader.footer_, decode_object_footer(footer, object_bytes));
    LAMINA_RETURN_IF_ERROR(reader.check_identity());
    if (index.size() != reader.footer_.index_bytes ||
        format::checksum64(index) != reader.footer_.index_digest) {
      return fail(ErrorKind::kCorrupt, "the index does not match its digest");
    }
    std::vector<std::byte> plain;
    std::span<const std::byte> bytes = index;
    if (reader.footer_.seal != SealAlgorithm::kNone) {
      if (index.size() < kTagBytes) return fail(ErrorKind::kCorrupt, "the index has no tag");
      plain.resize(index.size() - kTagBytes);
      LAMINA_ASSIGN_OR_RETURN(Sealer sealer, reader.make_sealer());
      LAMINA_ASSIGN_OR_RETURN(const bool done,
                              sealer.open({PartKind::kIndex, 0, 0, 0}, index, plain));
      if (!done) {
        return fail(ErrorKind::kCorrupt,
                    "the index cannot be decrypted: it was altered, or is another object's");
      }
      bytes = plain;
    }
    LAMINA_ASSIGN_OR_RETURN(reader.index_, decode_object_index(reader.footer_, bytes));
    return {};
  }();
  if (opened) return reader;
  return std::unexpected(with_context(describe_object(reader.identity_), opened.error()));
}

std::optional<BlockPlace> PackReader::find(std::uint32_t guest_block) const {
  const auto& extents = index_.extents;
  const auto after = std::upper_bound(extents.begin(), extents.end(), guest_block,
                                      [](std::uint32_t block, const mapping::StoredExtent& extent) {
                                        return block < extent.guest_block;
                                      });
  if (after == extents.begin()) return std::nullopt;
  const mapping::StoredExtent& extent = *std::prev(after);
  const std::uint32_t inside = guest_block - extent.guest_block;
  if (inside >= extent.block_count) return std::nullopt;
  const std::uint32_t stored = extent.checksum_index + inside;
  return BlockPlace{stored / footer_.frame_blocks, stored % footer_.frame_blocks};
}

BlockRun PackReader::blocks_of(std::uint32_t frame) const {
  const std::uint64_t first = std::uint64_t{frame} * footer_.frame_blocks;
  const std::uint64_t count =
      std::min<std::uint64_t>(footer_.frame_blocks, index_.stored_blocks() - first);
  return {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(count)};
}

Result<FrameDecoder> PackReader::make_decoder() const {
  std::optional<Sealer> sealer;
  if (footer_.seal != SealAlgorithm::kNone) {
    LAMINA_ASSIGN_OR_RETURN(sealer, make_sealer());
  }
  return FrameDecoder(footer_.frame_blocks, std::move(sealer));
}

Status PackReader::decode(FrameDecoder& decoder, std::uint32_t frame,
                          std::span<const std::byte> stored, std::span<std::uint64_t> checksums,
                          std::span<std::byte> blocks) const {
  const Status done = decoder.decode(frame, index_.frames[frame], stored, checksums, blocks);
  if (done) return {};
  return std::unexpected(with_context(describe_object(identity_), done.error()));
}

}  // namespace lamina::packed
