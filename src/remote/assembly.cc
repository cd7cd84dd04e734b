#include "remote/assembly.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "engine/transfer.h"
#include "engine/write_behind.h"
#include "os/file.h"

namespace lamina::remote {
namespace {

Status check_part(const FilePart& part, const packed::PackReader& reader) {
  const std::uint64_t expected = part.data_blocks + digest_blocks_for(part.data_blocks);
  if (reader.kind() == packed::ObjectKind::kFile && reader.index().stored_blocks() == expected) {
    return {};
  }
  return fail(ErrorKind::kCorrupt,
              "a part of {} blocks and their digests should store {} blocks; it stores {}",
              part.data_blocks, expected, reader.index().stored_blocks());
}

/// The map of a file whose only part has all of its blocks.
Result<std::vector<MappedRun>> implied_map(const FilePart& part, std::uint64_t size_bytes,
                                           const packed::PackReader& reader) {
  std::vector<MappedRun> map;
  for (const mapping::StoredExtent& extent : reader.index().extents) {
    if (extent.checksum_index >= part.data_blocks) break;
    const std::uint32_t count =
        std::min(extent.block_count, part.data_blocks - extent.checksum_index);
    if (std::uint64_t{extent.guest_block} + count > blocks_for(size_bytes)) {
      return fail(ErrorKind::kCorrupt, "its part has blocks beyond its end at {} bytes",
                  size_bytes);
    }
    append_run(map, {extent.guest_block, count}, 0);
  }
  return map;
}

/// Appends the pieces of one run of the map. `next` is an extent at or before it, and moves on.
Status add_pieces(const FilePart& part, std::span<const mapping::StoredExtent> extents,
                  const MappedRun& mapped, std::size_t& next, FilePlan& plan) {
  BlockRun left = mapped.run;
  std::vector<PartPiece>& pieces = plan.pieces[mapped.part];
  while (left.count > 0) {
    while (next < extents.size() && extents[next].guest_end() <= left.first) ++next;
    if (next == extents.size() || extents[next].guest_block > left.first) break;
    const mapping::StoredExtent& extent = extents[next];
    const std::uint32_t stored = extent.checksum_index + (left.first - extent.guest_block);
    const std::uint32_t count = std::min(left.count, extent.guest_end() - left.first);
    if (stored >= part.data_blocks || count > part.data_blocks - stored) break;
    pieces.push_back({{left.first, count}, stored, plan.data_blocks});
    plan.data_blocks += count;
    left.first += count;
    left.count -= count;
  }
  if (left.count == 0) return {};
  return fail(ErrorKind::kCorrupt, "part {} does not have block {}, which the map takes from it",
              mapped.part, left.first);
}

/// Writes the blocks of one part after the other.
class Assembler {
 public:
  Assembler(const FilePlan& plan, const AssembledFile& file, packed::Sha256 hash,
            Progress* progress)
      : file_(file),
        hash_(std::move(hash)),
        progress_(progress),
        behind_(file.fd),
        digests_(plan.data_blocks) {}

  Status write_part(const packed::PackReader& reader, const packed::Source& source,
                    std::span<const PartPiece> pieces) {
    LAMINA_ASSIGN_OR_RETURN(packed::FrameDecoder decoder, reader.make_decoder());
    const std::uint32_t frame_blocks = reader.footer().frame_blocks;
    std::optional<std::uint32_t> at_hand;
    for (const PartPiece& piece : pieces) {
      for (std::uint32_t done = 0; done < piece.run.count;) {
        const std::uint32_t stored = piece.stored + done;
        const std::uint32_t frame = stored / frame_blocks;
        if (at_hand != frame) LAMINA_RETURN_IF_ERROR(read_frame(reader, decoder, source, frame));
        at_hand = frame;
        const BlockRun there = reader.blocks_of(frame);
        const std::uint32_t count = std::min(piece.run.count - done, there.end() - stored);
        const auto blocks = std::span<const std::byte>(blocks_).subspan(
            (stored - there.first) * kBlockBytes, count * kBlockBytes);
        LAMINA_RETURN_IF_ERROR(write(piece.run.first + done, piece.order + done, blocks));
        done += count;
      }
    }
    return {};
  }

  Status finish(std::span<const MappedRun> map) {
    LAMINA_ASSIGN_OR_RETURN(const format::Digest128 digest, digest_of_blocks(map, digests_));
    if (digest != file_.contents.digest) {
      return fail(ErrorKind::kCorrupt, "its contents do not match their digest");
    }
    LAMINA_RETURN_IF_ERROR(os::truncate(file_.fd, file_.contents.size_bytes, file_.path));
    return os::sync(file_.fd, file_.path);
  }

 private:
  Status read_frame(const packed::PackReader& reader, packed::FrameDecoder& decoder,
                    const packed::Source& source, std::uint32_t frame) {
    const std::uint32_t count = reader.blocks_of(frame).count;
    stored_.resize(reader.frame_range(frame).length);
    checksums_.resize(count);
    blocks_.resize(count * kBlockBytes);
    LAMINA_RETURN_IF_ERROR(source(reader.frame_range(frame).offset, stored_));
    return reader.decode(decoder, frame, stored_, checksums_, blocks_);
  }

  Status write(std::uint32_t block, std::uint32_t order, std::span<const std::byte> blocks) {
    for (std::size_t at = 0; at < blocks.size(); at += kBlockBytes) {
      digests_[order++] = hash_.of(blocks.subspan(at, kBlockBytes));
    }
    const std::uint64_t offset = std::uint64_t{block} * kBlockBytes;
    const std::uint64_t there =
        std::min<std::uint64_t>(blocks.size(), file_.contents.size_bytes - offset);
    // The digest is that of whole blocks: it does not say where in the last one the file ends.
    const bool is_padded =
        std::ranges::all_of(blocks.subspan(there), [](std::byte b) { return b == std::byte{0}; });
    if (!is_padded) {
      return fail(ErrorKind::kCorrupt, "its last block has data beyond its end at {} bytes",
                  file_.contents.size_bytes);
    }
    LAMINA_RETURN_IF_ERROR(os::write_at(file_.fd, blocks.first(there), offset, file_.path));
    behind_.written_until(offset + there);
    return engine::advance(progress_, blocks.size());
  }

  const AssembledFile& file_;
  packed::Sha256 hash_;
  Progress* progress_;
  engine::WriteBehind behind_;
  std::vector<packed::BlockDigest> digests_;
  std::vector<std::byte> stored_;
  std::vector<std::uint64_t> checksums_;
  std::vector<std::byte> blocks_;
};

}  // namespace

Result<FilePlan> plan_file(const PartedFile& file, std::uint64_t size_bytes,
                           std::span<const packed::PackReader> readers) {
  for (std::size_t i = 0; i < file.parts.size(); ++i) {
    LAMINA_RETURN_IF_ERROR(check_part(file.parts[i], readers[i]));
  }
  FilePlan plan;
  plan.map = file.map;
  if (plan.map.empty() && !file.parts.empty()) {
    LAMINA_ASSIGN_OR_RETURN(plan.map, implied_map(file.parts.front(), size_bytes, readers.front()));
  }
  plan.pieces.resize(file.parts.size());
  std::vector<std::size_t> next(file.parts.size());
  for (const MappedRun& mapped : plan.map) {
    LAMINA_RETURN_IF_ERROR(add_pieces(file.parts[mapped.part], readers[mapped.part].index().extents,
                                      mapped, next[mapped.part], plan));
  }
  return plan;
}

Result<format::Digest128> digest_of_blocks(std::span<const MappedRun> map,
                                           std::span<const packed::BlockDigest> digests) {
  LAMINA_ASSIGN_OR_RETURN(packed::FileDigester digester, packed::FileDigester::create());
  std::size_t i = 0;
  for (const MappedRun& mapped : map) {
    for (std::uint32_t block = mapped.run.first; block < mapped.run.end(); ++block) {
      digester.add(block, digests[i++]);
    }
  }
  return digester.finish();
}

Status assemble_file(const FilePlan& plan, std::span<const packed::PackReader> readers,
                     std::span<const packed::Source> sources, const AssembledFile& file,
                     Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(packed::Sha256 hash, packed::Sha256::create());
  Assembler assembler(plan, file, std::move(hash), progress);
  for (std::size_t i = 0; i < readers.size(); ++i) {
    LAMINA_RETURN_IF_ERROR(assembler.write_part(readers[i], sources[i], plan.pieces[i]));
  }
  return assembler.finish(plan.map);
}

}  // namespace lamina::remote
