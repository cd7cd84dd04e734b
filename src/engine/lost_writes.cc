#include "engine/lost_writes.h"

#include <fcntl.h>

#include <algorithm>
#include <span>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "engine/block_scan.h"
#include "engine/read_back.h"
#include "engine/transfer.h"
#include "os/anonymous_mapping.h"
#include "os/file.h"
#include "os/sparse_file.h"

namespace lamina::engine {
namespace {

std::span<const std::uint64_t> checksums_of(const format::Trailer& trailer,
                                            const mapping::StoredExtent& extent) {
  return std::span(trailer.checksums).subspan(extent.checksum_index, extent.block_count);
}

class Rewriter {
 public:
  Rewriter(const Layer& layer, int destination, const std::string& path)
      : layer_(layer),
        trailer_(*layer.trailer()),
        destination_(destination),
        path_(path),
        buffer_(kChunkBlocks * kBlockBytes) {}

  Status run() {
    for (const mapping::StoredExtent& extent : trailer_.extents) {
      LAMINA_RETURN_IF_ERROR(rewrite(extent.guest_run(), checksums_of(trailer_, extent)));
    }
    LAMINA_RETURN_IF_ERROR(rewrite_zeros());
    return os::truncate(destination_, trailer_.memory_bytes, path_);
  }

 private:
  /// Rewrites the written zeros, which must not become holes: in a diff they clear blocks of the
  /// base.
  Status rewrite_zeros() {
    LAMINA_ASSIGN_OR_RETURN(
        const std::vector<ByteRange> extents,
        os::written_ranges(layer_.fd(), trailer_.data_blocks * kBlockBytes, layer_.path()));
    const auto end_of = [](const ByteRange& range) { return blocks_for(range.end()); };
    auto data = extents.begin();
    for (const BlockRun& run : trailer_.zeros) {
      const std::uint64_t run_end = run.end();
      while (data != extents.end() && end_of(*data) <= run.first) ++data;
      for (auto part = data; part != extents.end(); ++part) {
        const std::uint64_t from = std::max<std::uint64_t>(run.first, part->offset / kBlockBytes);
        const std::uint64_t to = std::min(run_end, end_of(*part));
        if (from >= run_end) break;
        if (from >= to) continue;
        LAMINA_RETURN_IF_ERROR(
            rewrite({static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(to - from)}, {}));
      }
    }
    return {};
  }

  /// `checksums` has one entry per block. If it is empty, the blocks must be zeros.
  Status rewrite(const BlockRun& run, std::span<const std::uint64_t> checksums) {
    for (std::uint32_t done = 0; done < run.count;) {
      const std::uint32_t count = std::min(kChunkBlocks, run.count - done);
      const std::uint32_t block = run.first + done;
      const auto chunk = std::span(buffer_).first(count * kBlockBytes);
      LAMINA_RETURN_IF_ERROR(layer_.read_unchecked(block, chunk));
      for (std::uint32_t i = 0; i < count; ++i) {
        const auto bytes = chunk.subspan(i * kBlockBytes, kBlockBytes);
        const bool is_right =
            checksums.empty() ? std::all_of(bytes.begin(), bytes.end(),
                                            [](std::byte value) { return value == std::byte{0}; })
                              : block_checksum(bytes) == checksums[done + i];
        if (!is_right) return lost(block + i);
      }
      LAMINA_RETURN_IF_ERROR(os::write_at(destination_, chunk, block * kBlockBytes, path_));
      done += count;
    }
    return {};
  }

  [[nodiscard]] std::unexpected<Error> lost(std::uint64_t block) const {
    return fail(ErrorKind::kCorrupt,
                "'{}' was not completely written to the disk, and at {:#x} its contents have "
                "changed since it was read: data was lost; have the VMM write the memory again",
                layer_.path(), block * kBlockBytes);
  }

  const Layer& layer_;
  const format::Trailer& trailer_;
  int destination_;
  const std::string& path_;
  std::vector<std::byte> buffer_;
};

bool is_adopted(const Layer& layer) {
  return layer.trailer() && layer.trailer()->layout == format::LayerLayout::kAdopted;
}

}  // namespace

bool is_on_disk(const Layer& layer, int directory, const std::string& name) {
  if (!is_adopted(layer)) return false;
  const auto direct = os::open_at(directory, name, O_RDONLY | O_DIRECT | O_NOFOLLOW, layer.path());
  // O_DIRECT needs an aligned buffer.
  const auto buffer = os::AnonymousMapping::map(kChunkBlocks * kBlockBytes, layer.path());
  if (!direct || !buffer) return false;
  const format::Trailer& trailer = *layer.trailer();
  return std::all_of(
      trailer.extents.begin(), trailer.extents.end(), [&](const mapping::StoredExtent& extent) {
        return blocks_match(direct->get(), extent.storage_block, checksums_of(trailer, extent),
                            buffer->bytes(), layer.path());
      });
}

Status rewrite_memory_file(const Layer& layer, int destination, const std::string& path) {
  if (!is_adopted(layer)) {
    return fail(ErrorKind::kCorrupt, "'{}' is not an adopted layer", layer.path());
  }
  return Rewriter(layer, destination, path).run();
}

}  // namespace lamina::engine
