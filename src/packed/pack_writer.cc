#include "packed/pack_writer.h"

#include <algorithm>

#include "base/error.h"
#include "engine/block_scan.h"
#include "format/checksum.h"

namespace lamina::packed {
namespace {

Result<std::optional<Sealer>> sealer_for(const PackSettings& settings, std::uint32_t frames) {
  if (!settings.key) return std::nullopt;
  const SealedObject object{kObjectMagic, kObjectVersion, settings.name, frames};
  LAMINA_ASSIGN_OR_RETURN(Sealer sealer, Sealer::create(*settings.key, object));
  return std::optional(std::move(sealer));
}

std::uint64_t digest_of_text(const std::string& text) {
  return format::checksum64(std::as_bytes(std::span(text)));
}

}  // namespace

Result<PackWriter> PackWriter::create(ObjectKind kind, std::uint64_t stored_blocks,
                                      const PackSettings& settings, Sink sink) {
  if (settings.frame_blocks == 0 || settings.frame_blocks > kMaxFrameBlocks) {
    return fail(ErrorKind::kUsage, "frames of {} blocks are not supported; choose 1 to {}",
                settings.frame_blocks, kMaxFrameBlocks);
  }
  ObjectFooter footer;
  footer.kind = kind;
  footer.frame_blocks = settings.frame_blocks;
  footer.frame_count = static_cast<std::uint32_t>(frames_for(stored_blocks, settings.frame_blocks));
  if (settings.key) {
    footer.seal = SealAlgorithm::kAes256Gcm;
    footer.name_digest = digest_of_text(settings.name);
    footer.key_check = settings.key->check_value();
  }
  LAMINA_ASSIGN_OR_RETURN(std::optional<Sealer> sealer, sealer_for(settings, footer.frame_count));
  PackWriter writer(footer, FrameEncoder(settings.method, settings.frame_blocks, std::move(sealer)),
                    std::move(sink));
  writer.stored_blocks_ = stored_blocks;
  writer.pending_.reserve(settings.frame_blocks * kBlockBytes);
  writer.frames_.reserve(footer.frame_count);
  return writer;
}

Result<PackWriter> PackWriter::for_layer(const format::Trailer& trailer,
                                         const PackSettings& settings, Sink sink) {
  LAMINA_ASSIGN_OR_RETURN(PackWriter writer, create(ObjectKind::kLayer, trailer.stored_blocks(),
                                                    settings, std::move(sink)));
  if (trailer.checksums.size() != trailer.stored_blocks()) {
    return fail(ErrorKind::kFailed, "layer {} was opened without its checksums",
                trailer.build_id.to_string());
  }
  writer.trailer_ = format::encode_trailer(trailer);
  writer.checksums_ = trailer.checksums;
  return writer;
}

Result<PackWriter> PackWriter::for_file(std::uint64_t file_bytes, std::vector<BlockRun> runs,
                                        const PackSettings& settings, Sink sink) {
  std::uint64_t stored = 0;
  for (const BlockRun& run : runs) stored += run.count;
  LAMINA_ASSIGN_OR_RETURN(PackWriter writer,
                          create(ObjectKind::kFile, stored, settings, std::move(sink)));
  writer.file_bytes_ = file_bytes;
  writer.runs_ = std::move(runs);
  writer.checksums_.resize(settings.frame_blocks);
  return writer;
}

Status PackWriter::add(std::span<const std::byte> blocks) {
  const std::uint64_t known = added_blocks_ + pending_.size() / kBlockBytes;
  if (blocks.size() % kBlockBytes != 0 || blocks.size() / kBlockBytes > stored_blocks_ - known) {
    return fail(ErrorKind::kFailed, "{} bytes were added to a packed object after {} of {} blocks",
                blocks.size(), known, stored_blocks_);
  }
  const std::size_t frame_bytes = footer_.frame_blocks * kBlockBytes;
  while (!blocks.empty()) {
    if (pending_.empty() && blocks.size() >= frame_bytes) {
      LAMINA_RETURN_IF_ERROR(add_frame(blocks.first(frame_bytes)));
      blocks = blocks.subspan(frame_bytes);
      continue;
    }
    const auto part = blocks.first(std::min(blocks.size(), frame_bytes - pending_.size()));
    pending_.insert(pending_.end(), part.begin(), part.end());
    blocks = blocks.subspan(part.size());
    if (pending_.size() < frame_bytes) continue;
    LAMINA_RETURN_IF_ERROR(add_frame(pending_));
    pending_.clear();
  }
  return {};
}

Result<std::span<const std::uint64_t>> PackWriter::checksums_of(std::span<const std::byte> blocks) {
  const std::size_t count = blocks.size() / kBlockBytes;
  const bool is_layer = footer_.kind == ObjectKind::kLayer;
  const auto checksums = std::span(checksums_).subspan(is_layer ? added_blocks_ : 0, count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto computed = engine::block_checksum(blocks.subspan(i * kBlockBytes, kBlockBytes));
    if (is_layer && computed != checksums[i]) {
      return fail(ErrorKind::kCorrupt, "stored block {} does not match its checksum",
                  added_blocks_ + i);
    }
    checksums[i] = computed;
  }
  return std::span<const std::uint64_t>(checksums);
}

Status PackWriter::add_frame(std::span<const std::byte> blocks) {
  LAMINA_ASSIGN_OR_RETURN(const auto checksums, checksums_of(blocks));
  LAMINA_ASSIGN_OR_RETURN(const EncodedFrame frame,
                          encoder_.encode(frames_.size(), checksums, blocks));
  frames_.push_back({footer_.frames_bytes, static_cast<std::uint32_t>(frame.bytes.size()),
                     frame.method, format::checksum64(frame.bytes)});
  footer_.frames_bytes += frame.bytes.size();
  added_blocks_ += checksums.size();
  return sink_(frame.bytes);
}

Result<std::vector<std::byte>> PackWriter::encode_index() const {
  if (footer_.kind == ObjectKind::kLayer) return encode_layer_index(trailer_, frames_);
  return encode_file_index(file_bytes_, runs_, frames_);
}

Result<PackedObject> PackWriter::finish() {
  if (!pending_.empty()) LAMINA_RETURN_IF_ERROR(add_frame(pending_));
  pending_.clear();
  if (added_blocks_ != stored_blocks_) {
    return fail(ErrorKind::kFailed, "{} of the {} blocks of a packed object were added",
                added_blocks_, stored_blocks_);
  }
  LAMINA_ASSIGN_OR_RETURN(std::vector<std::byte> index, encode_index());
  if (Sealer* sealer = encoder_.sealer()) {
    index.resize(index.size() + kTagBytes);
    LAMINA_RETURN_IF_ERROR(sealer->seal({PartKind::kIndex, 0, 0, 0}, index));
  }
  footer_.index_bytes = index.size();
  footer_.index_digest = format::checksum64(index);
  const std::vector<std::byte> footer = encode_object_footer(footer_);
  LAMINA_RETURN_IF_ERROR(sink_(index));
  LAMINA_RETURN_IF_ERROR(sink_(footer));
  return PackedObject{footer_, format::checksum64(footer)};
}

}  // namespace lamina::packed
