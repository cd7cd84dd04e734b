#include "remote/working_set_pack.h"

#include <algorithm>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "engine/transfer.h"
#include "format/working_set.h"
#include "object_store/blocking_store.h"
#include "os/file.h"
#include "packed/frame_codec.h"
#include "remote/object_stream.h"
#include "remote/requests.h"
#include "store/snapshot_directory.h"

namespace lamina::remote {
namespace {

using object_store::Answer;

/// Blocks that are read and packed at a time.
constexpr std::uint32_t kPackBatchBlocks = 64;

void append_pack_run(std::vector<BlockRun>& runs, BlockRun run) {
  if (!runs.empty() && runs.back().end() == run.first) {
    runs.back().count += run.count;
  } else {
    runs.push_back(run);
  }
}

Result<std::vector<std::byte>> working_set_bytes(const LocalFile& file, const std::string& path) {
  if (file.bytes) return *file.bytes;
  return os::read_whole(file.opened.fd.get(), format::max_working_set_bytes(), path);
}

/// Collects the stored blocks of a working set, each once.
class PackPlanner {
 public:
  explicit PackPlanner(const engine::Chain& chain)
      : chain_(chain), is_taken_(chain.mapping().block_count()) {}

  PackContents run(std::span<const BlockRun> runs) {
    for (const BlockRun& run : runs) {
      for (std::uint32_t block = run.first; block < run.end();) {
        if (contents_.checksums.size() == kMaxPackBlocks) return std::move(contents_);
        mapping::Extent extent = chain_.mapping().resolve(block);
        extent.block_count = std::min(extent.block_count, run.end() - block);
        if (extent.layer != mapping::kZeros) add(extent);
        block = extent.guest_end();
      }
    }
    return std::move(contents_);
  }

 private:
  void add(const mapping::Extent& extent) {
    const auto checksums = chain_.layer(extent.layer).checksums(extent);
    for (std::uint32_t i = 0; i < extent.block_count; ++i) {
      const std::uint32_t block = extent.guest_block + i;
      if (is_taken_[block] || contents_.checksums.size() == kMaxPackBlocks) continue;
      is_taken_[block] = true;
      append_pack_run(contents_.runs, {block, 1});
      contents_.checksums.push_back(checksums[i]);
    }
  }

  const engine::Chain& chain_;
  std::vector<bool> is_taken_;
  PackContents contents_;
};

/// Passes the blocks of decoded frames on by the runs of the pack.
class PackDelivery {
 public:
  PackDelivery(const PackContents& contents, const PackConsumer& consume)
      : contents_(contents), consume_(consume) {}

  Status deliver(std::span<const std::byte> blocks) {
    while (!blocks.empty()) {
      const BlockRun& run = contents_.runs[run_];
      const auto there = static_cast<std::uint32_t>(blocks.size() / kBlockBytes);
      const std::uint32_t count = std::min(there, run.count - done_in_run_);
      LAMINA_RETURN_IF_ERROR(consume_({run.first + done_in_run_, count},
                                      blocks.first(count * kBlockBytes),
                                      std::span(contents_.checksums).subspan(done_, count)));
      blocks = blocks.subspan(count * kBlockBytes);
      done_ += count;
      done_in_run_ += count;
      if (done_in_run_ < run.count) continue;
      ++run_;
      done_in_run_ = 0;
    }
    return {};
  }

 private:
  const PackContents& contents_;
  const PackConsumer& consume_;
  std::size_t run_ = 0;
  std::uint32_t done_in_run_ = 0;
  std::size_t done_ = 0;
};

Result<packed::PackReader> open_pack(object_store::ObjectStore& bucket, const Manifest& manifest,
                                     Progress* progress) {
  const StoredObject& object = manifest.pack->object;
  const Reference& reference = manifest.reference_of(object);
  std::vector<std::byte> index;
  if (object.index.empty()) {
    LAMINA_ASSIGN_OR_RETURN(const packed::ObjectFooter footer,
                            packed::decode_object_footer(object.footer, reference.size_bytes));
    const ByteRange range = footer.index_range();
    object_store::BlockingStore store(bucket, progress);
    Answer answer = store.get_range(reference.key, {range.offset, range.length});
    LAMINA_RETURN_IF_ERROR(strict_status(answer));
    index = std::move(answer.bytes);
  }
  LAMINA_ASSIGN_OR_RETURN(packed::PackReader reader, open_stored(manifest, object, index));
  const std::uint64_t stored = reader.index().stored_blocks();
  if (stored == manifest.pack->contents.blocks()) return reader;
  return fail(ErrorKind::kCorrupt, "pack '{}' stores {} blocks; its manifest says {}",
              reference.key, stored, manifest.pack->contents.blocks());
}

}  // namespace

Result<std::optional<PackContents>> plan_pack(const LocalSnapshot& local) {
  const auto file = std::ranges::find(local.files, store::kWorkingSetName, &LocalFile::name);
  if (file == local.files.end() || file->target) return std::nullopt;
  const std::string path = local.snapshot.path + "/" + file->name;
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, working_set_bytes(*file, path));
  auto working_set = format::decode_working_set(bytes);
  if (!working_set) return std::unexpected(with_context(path, working_set.error()));
  const engine::Chain& chain = local.snapshot.chain;
  if (blocks_for(working_set->memory_bytes) != chain.mapping().block_count()) {
    return fail(ErrorKind::kCorrupt, "'{}' is of a memory of {} bytes", path,
                working_set->memory_bytes);
  }
  PackContents contents = PackPlanner(chain).run(working_set->runs);
  if (contents.runs.empty()) return std::nullopt;
  return contents;
}

Result<packed::PackedObject> write_pack(const engine::Chain& chain, const PackContents& contents,
                                        const packed::PackSettings& settings, packed::Sink sink,
                                        Progress* progress) {
  const std::uint32_t blocks = contents.blocks();
  LAMINA_ASSIGN_OR_RETURN(
      packed::PackWriter writer,
      packed::PackWriter::for_file(blocks * kBlockBytes, {{0, blocks}}, settings, std::move(sink)));
  std::vector<std::byte> buffer(kPackBatchBlocks * kBlockBytes);
  for (const BlockRun& run : contents.runs) {
    for (std::uint32_t done = 0; done < run.count;) {
      const std::uint32_t count = std::min(run.count - done, kPackBatchBlocks);
      const auto part = std::span(buffer).first(count * kBlockBytes);
      LAMINA_RETURN_IF_ERROR(chain.read(run.first + done, part, engine::Chain::Check::kChecksums));
      LAMINA_RETURN_IF_ERROR(writer.add(part));
      if (progress != nullptr && progress->interrupted()) {
        return fail(ErrorKind::kInterrupted, "interrupted");
      }
      done += count;
    }
  }
  return writer.finish();
}

Result<std::uint64_t> fetch_pack(object_store::ObjectStore& bucket, const Manifest& manifest,
                                 const PackConsumer& consume, Progress* progress) {
  if (!manifest.pack) return std::uint64_t{0};
  const PackContents& contents = manifest.pack->contents;
  LAMINA_ASSIGN_OR_RETURN(const packed::PackReader reader, open_pack(bucket, manifest, progress));
  LAMINA_ASSIGN_OR_RETURN(packed::FrameDecoder decoder, reader.make_decoder());
  const std::string& key = manifest.reference_of(manifest.pack->object).key;
  ObjectStream stream(bucket, {{key, reader.footer().frames_bytes}}, progress);
  PackDelivery delivery(contents, consume);
  std::vector<std::byte> stored;
  std::vector<std::byte> blocks;
  std::vector<std::uint64_t> checksums;
  for (std::uint32_t frame = 0; frame < reader.frame_count(); ++frame) {
    const BlockRun run = reader.blocks_of(frame);
    stored.resize(reader.frame_range(frame).length);
    blocks.resize(run.count * kBlockBytes);
    checksums.resize(run.count);
    LAMINA_RETURN_IF_ERROR(stream.read(0, reader.frame_range(frame).offset, stored));
    LAMINA_RETURN_IF_ERROR(reader.decode(decoder, frame, stored, checksums, blocks));
    const auto expected = std::span(contents.checksums).subspan(run.first, run.count);
    if (!std::ranges::equal(checksums, expected)) {
      return fail(ErrorKind::kCorrupt, "pack '{}' has other blocks than the snapshot's layers",
                  key);
    }
    LAMINA_RETURN_IF_ERROR(delivery.deliver(blocks));
    LAMINA_RETURN_IF_ERROR(engine::advance(progress, blocks.size()));
  }
  return stream.fetched_bytes();
}

}  // namespace lamina::remote
