#include "remote/base_file.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "object_store/blocking_store.h"
#include "packed/packed_object.h"
#include "remote/object_stream.h"
#include "remote/requests.h"
#include "remote/upload.h"

namespace lamina::remote {
namespace {

using object_store::Answer;

class BaseReader {
 public:
  BaseReader(object_store::ObjectStore& bucket, const Manifest& manifest, const ManifestFile& file,
             Progress* progress)
      : bucket_(bucket),
        blocking_(bucket, progress),
        manifest_(manifest),
        file_(file),
        progress_(progress) {}

  Result<BaseFile> run() {
    LAMINA_RETURN_IF_ERROR(open_parts());
    LAMINA_ASSIGN_OR_RETURN(FilePlan plan,
                            plan_file(file_.parted, file_.contents.size_bytes, readers_));
    LAMINA_RETURN_IF_ERROR(read_digests(plan));
    LAMINA_ASSIGN_OR_RETURN(const format::Digest128 digest,
                            digest_of_blocks(plan.map, base_.digests));
    if (digest != file_.contents.digest) {
      return fail(ErrorKind::kCorrupt, "the digests of '{}' are not those of its contents",
                  file_.name);
    }
    base_.map = std::move(plan.map);
    return std::move(base_);
  }

 private:
  Status open_parts() {
    for (const FilePart& part : file_.parted.parts) {
      PushedObject object;
      object.reference = manifest_.reference_of(part.object);
      object.footer = part.object.footer;
      object.index = part.object.index;
      const auto key = manifest_.keys.find(object.reference.key);
      if (key != manifest_.keys.end()) object.key = key->second;
      if (object.index.empty()) {
        LAMINA_ASSIGN_OR_RETURN(object.index, fetch_index(object.reference, object.footer));
      }
      LAMINA_ASSIGN_OR_RETURN(packed::PackReader reader,
                              open_stored(manifest_, part.object, object.index));
      readers_.push_back(std::move(reader));
      base_.parts.push_back({std::move(object), part.data_blocks});
    }
    return {};
  }

  Result<std::vector<std::byte>> fetch_index(const Reference& reference,
                                             std::span<const std::byte> footer_bytes) {
    LAMINA_ASSIGN_OR_RETURN(const packed::ObjectFooter footer,
                            packed::decode_object_footer(footer_bytes, reference.size_bytes));
    const ByteRange range = footer.index_range();
    Answer answer = blocking_.get_range(reference.key, {range.offset, range.length});
    LAMINA_RETURN_IF_ERROR(strict_status(answer));
    return std::move(answer.bytes);
  }

  /// The frame in which the digests of a part begin.
  [[nodiscard]] std::uint32_t first_frame(std::size_t part) const {
    return file_.parted.parts[part].data_blocks / readers_[part].footer().frame_blocks;
  }

  Status read_digests(const FilePlan& plan) {
    base_.digests.resize(plan.data_blocks);
    std::vector<StreamedObject> streamed;
    for (std::size_t part = 0; part < readers_.size(); ++part) {
      const packed::PackReader& reader = readers_[part];
      const bool is_used = !plan.pieces[part].empty();
      const std::uint64_t end = is_used ? reader.footer().frames_bytes : 0;
      streamed.push_back({base_.parts[part].object.reference.key, end,
                          is_used ? reader.frame_range(first_frame(part)).offset : 0});
    }
    ObjectStream stream(bucket_, std::move(streamed), progress_);
    for (std::size_t part = 0; part < readers_.size(); ++part) {
      if (plan.pieces[part].empty()) continue;
      LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> table, read_table(stream, part));
      for (const PartPiece& piece : plan.pieces[part]) {
        const auto digests = std::span(table).subspan(piece.stored * kBlockDigestBytes,
                                                      piece.run.count * kBlockDigestBytes);
        std::ranges::copy(
            digests,
            std::as_writable_bytes(std::span(base_.digests).subspan(piece.order, piece.run.count))
                .begin());
      }
    }
    return {};
  }

  /// The digests of a part's blocks. Grows with what was read.
  Result<std::vector<std::byte>> read_table(ObjectStream& stream, std::size_t part) {
    const packed::PackReader& reader = readers_[part];
    const std::uint32_t data_blocks = file_.parted.parts[part].data_blocks;
    LAMINA_ASSIGN_OR_RETURN(packed::FrameDecoder decoder, reader.make_decoder());
    std::vector<std::byte> table;
    std::vector<std::byte> stored;
    std::vector<std::byte> blocks;
    std::vector<std::uint64_t> checksums;
    for (std::uint32_t frame = first_frame(part); frame < reader.frame_count(); ++frame) {
      const BlockRun run = reader.blocks_of(frame);
      stored.resize(reader.frame_range(frame).length);
      blocks.resize(run.count * kBlockBytes);
      checksums.resize(run.count);
      LAMINA_RETURN_IF_ERROR(stream.read(part, reader.frame_range(frame).offset, stored));
      LAMINA_RETURN_IF_ERROR(reader.decode(decoder, frame, stored, checksums, blocks));
      const std::uint64_t before = run.first < data_blocks ? data_blocks - run.first : 0;
      const auto digests = std::span(blocks).subspan(before * kBlockBytes);
      table.insert(table.end(), digests.begin(), digests.end());
    }
    return table;
  }

  object_store::ObjectStore& bucket_;
  object_store::BlockingStore blocking_;
  const Manifest& manifest_;
  const ManifestFile& file_;
  Progress* progress_;
  std::vector<packed::PackReader> readers_;
  BaseFile base_;
};

}  // namespace

Result<std::optional<BaseFile>> read_base_file(object_store::ObjectStore& bucket,
                                               const Manifest& manifest, const ManifestFile& file,
                                               Progress* progress) {
  StopQuestion stop(progress);
  auto base = BaseReader(bucket, manifest, file, &stop).run();
  if (base) return std::move(*base);
  const ErrorKind kind = base.error().kind;
  if (kind == ErrorKind::kCorrupt || kind == ErrorKind::kNotFound) return std::nullopt;
  return std::unexpected(base.error());
}

}  // namespace lamina::remote
