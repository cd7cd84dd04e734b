#include "format/trailer.h"

#include <algorithm>
#include <string_view>

#include "base/block.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/checksum.h"
#include "mapping/mapping.h"

namespace lamina::format {
namespace {

constexpr std::string_view kMagic = "LAMINATR";
constexpr std::uint32_t kVersion = 2;
constexpr std::size_t kChecksumOffset = kFooterBytes - sizeof(std::uint64_t);
constexpr std::size_t kUuidBytes = sizeof(Uuid::bytes);
constexpr std::size_t kRunBytes = 2 * sizeof(std::uint32_t);

/// All fields of the footer.
struct FullFooter {
  Footer sizes;
  Trailer fields;  ///< only the scalar fields are set
  std::uint32_t chain_count = 0;
  std::uint32_t replaces_count = 0;
  std::uint32_t extent_count = 0;
  std::uint32_t zero_count = 0;
  std::uint64_t checksum_count = 0;
  std::uint64_t lists_checksum = 0;
  std::uint64_t checksums_checksum = 0;
};

Result<std::optional<FullFooter>> decode_full_footer(std::span<const std::byte> bytes,
                                                     std::uint64_t file_bytes) {
  if (bytes.size() != kFooterBytes) return std::nullopt;
  ByteReader reader(bytes);
  const auto magic = reader.get_bytes(kMagic.size());
  const auto expected_magic = std::as_bytes(std::span(kMagic));
  if (!std::equal(magic.begin(), magic.end(), expected_magic.begin())) return std::nullopt;
  const auto version = reader.get<std::uint32_t>();
  const auto footer_bytes = reader.get<std::uint32_t>();
  if (version != kVersion) {
    return fail(ErrorKind::kCorrupt, "the trailer has version {}; this build reads version {}",
                version, kVersion);
  }
  const auto stored = ByteReader(bytes.subspan(kChecksumOffset)).get<std::uint64_t>();
  if (footer_bytes != kFooterBytes || stored != checksum64(bytes.first(kChecksumOffset))) {
    return fail(ErrorKind::kCorrupt, "the trailer's footer does not match its checksum");
  }
  const auto incompatible_features = reader.get<std::uint32_t>();
  reader.get<std::uint32_t>();  // compatible features: ignored
  if (incompatible_features != 0) {
    return fail(ErrorKind::kCorrupt,
                "the trailer needs features {:#x} that this build does not know",
                incompatible_features);
  }
  FullFooter footer;
  footer.fields.build_id = reader.get_uuid();
  footer.fields.pause_id = reader.get_uuid();
  footer.fields.parent = reader.get_uuid();
  footer.fields.memory_bytes = reader.get<std::uint64_t>();
  footer.sizes.data_bytes = reader.get<std::uint64_t>();
  footer.sizes.trailer_bytes = reader.get<std::uint64_t>();
  const auto block_bytes = reader.get<std::uint32_t>();
  const auto layout = reader.get<std::uint32_t>();
  footer.chain_count = reader.get<std::uint32_t>();
  footer.replaces_count = reader.get<std::uint32_t>();
  footer.extent_count = reader.get<std::uint32_t>();
  footer.zero_count = reader.get<std::uint32_t>();
  footer.checksum_count = reader.get<std::uint64_t>();
  footer.lists_checksum = reader.get<std::uint64_t>();
  footer.checksums_checksum = reader.get<std::uint64_t>();

  if (block_bytes != kBlockBytes) {
    return fail(ErrorKind::kCorrupt, "the trailer has blocks of {} bytes, not {}", block_bytes,
                kBlockBytes);
  }
  if (layout != static_cast<std::uint32_t>(LayerLayout::kCompact) &&
      layout != static_cast<std::uint32_t>(LayerLayout::kAdopted)) {
    return fail(ErrorKind::kCorrupt, "the trailer has layout {}; this build knows 1 and 2", layout);
  }
  footer.fields.layout = static_cast<LayerLayout>(layout);
  const std::uint64_t blocks = blocks_for(footer.fields.memory_bytes);
  if (blocks == 0 || blocks > kMaxBlocks) {
    return fail(ErrorKind::kCorrupt, "the trailer has memory size {}", footer.fields.memory_bytes);
  }
  if (footer.chain_count > mapping::kMaxLayers || footer.replaces_count > mapping::kMaxLayers) {
    return fail(ErrorKind::kCorrupt, "the trailer names {} and {} layers; at most {} are supported",
                footer.chain_count, footer.replaces_count, mapping::kMaxLayers);
  }
  if (footer.checksum_count > blocks) {
    return fail(ErrorKind::kCorrupt, "the trailer has {} stored blocks of {}",
                footer.checksum_count, blocks);
  }
  footer.sizes.lists_bytes =
      (std::uint64_t{footer.chain_count} + footer.replaces_count) * kUuidBytes +
      (std::uint64_t{footer.extent_count} + footer.zero_count) * kRunBytes;
  const std::uint64_t expected =
      kFooterBytes + footer.sizes.lists_bytes + footer.checksum_count * sizeof(std::uint64_t);
  const std::uint64_t data_bytes = footer.sizes.data_bytes;
  if (footer.sizes.trailer_bytes != expected || data_bytes % kBlockBytes != 0 ||
      file_bytes < expected || data_bytes != file_bytes - expected) {
    return fail(ErrorKind::kCorrupt,
                "the trailer describes {} bytes of data and {} of trailer; the file has {} bytes",
                data_bytes, expected, file_bytes);
  }
  footer.fields.data_blocks = data_bytes / kBlockBytes;
  footer.sizes.stored_blocks = footer.checksum_count;
  return footer;
}

BlockRun guest_run(const BlockRun& run) { return run; }
BlockRun guest_run(const mapping::StoredExtent& extent) { return extent.guest_run(); }

/// Checks that runs are in order, not empty, inside the memory, and joined where they are adjacent.
/// (Runs that are adjacent in the guest are adjacent in storage too, in either layout.) So each
/// extent of a header lies inside one run.
template <typename Run>
Status check_runs(const std::vector<Run>& runs, std::uint64_t block_count, std::string_view what) {
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const BlockRun run = guest_run(runs[i]);
    const std::uint64_t start = run.first;
    const std::uint64_t run_end = start + run.count;
    const bool in_order = i == 0 || start > end;
    if (run.count == 0 || !in_order || run_end > block_count) {
      return fail(ErrorKind::kCorrupt,
                  "{} {} of the trailer is [{:#x}, {:#x}): empty, out of order, touching or past "
                  "the memory",
                  what, i, start * kBlockBytes, run_end * kBlockBytes);
    }
    end = run_end;
  }
  return {};
}

/// Checks that no block is both stored and zero. REQUIRES: both lists are in order.
Status check_apart(const Trailer& trailer) {
  auto zero = trailer.zeros.begin();
  for (const mapping::StoredExtent& extent : trailer.extents) {
    while (zero != trailer.zeros.end() && zero->end() <= extent.guest_block) ++zero;
    if (zero != trailer.zeros.end() && zero->first < extent.guest_end()) {
      return fail(ErrorKind::kCorrupt, "block {:#x} of the trailer is both stored and zero",
                  std::max(zero->first, extent.guest_block) * kBlockBytes);
    }
  }
  return {};
}

Status validate(Trailer& trailer, std::uint64_t checksum_count) {
  const std::uint64_t block_count = blocks_for(trailer.memory_bytes);
  LAMINA_RETURN_IF_ERROR(check_runs(trailer.extents, block_count, "extent"));
  LAMINA_RETURN_IF_ERROR(check_runs(trailer.zeros, block_count, "zero extent"));
  LAMINA_RETURN_IF_ERROR(check_apart(trailer));
  if (set_positions(trailer) != checksum_count) {
    return fail(ErrorKind::kCorrupt, "the trailer has {} checksums, not one for each stored block",
                checksum_count);
  }
  const std::uint64_t needed =
      trailer.layout == LayerLayout::kCompact ? checksum_count : block_count;
  if (trailer.data_blocks != needed) {
    return fail(ErrorKind::kCorrupt, "the layer has {} blocks of data where its trailer needs {}",
                trailer.data_blocks, needed);
  }
  return {};
}

/// REQUIRES: `lists` has the size from the footer.
Result<Trailer> decode_lists(const FullFooter& footer, std::span<const std::byte> lists) {
  if (checksum64(lists) != footer.lists_checksum) {
    return fail(ErrorKind::kCorrupt, "the trailer's lists do not match their checksum");
  }
  Trailer trailer = footer.fields;
  ByteReader reader(lists);
  trailer.chain.resize(footer.chain_count);
  for (Uuid& id : trailer.chain) id = reader.get_uuid();
  trailer.replaces.resize(footer.replaces_count);
  for (Uuid& id : trailer.replaces) id = reader.get_uuid();
  trailer.extents.resize(footer.extent_count);
  for (mapping::StoredExtent& extent : trailer.extents) {
    extent.guest_block = reader.get<std::uint32_t>();
    extent.block_count = reader.get<std::uint32_t>();
  }
  trailer.zeros.resize(footer.zero_count);
  for (BlockRun& run : trailer.zeros) {
    run.first = reader.get<std::uint32_t>();
    run.count = reader.get<std::uint32_t>();
  }
  LAMINA_RETURN_IF_ERROR(validate(trailer, footer.checksum_count));
  return trailer;
}

/// What the footer says about the parts before it.
struct FooterNumbers {
  std::uint64_t lists_bytes = 0;
  std::uint64_t lists_checksum = 0;
  std::uint64_t checksum_count = 0;
  std::uint64_t checksums_checksum = 0;
};

/// With room for the whole trailer.
ByteWriter encode_lists(const Trailer& trailer) {
  ByteWriter lists(kFooterBytes + (trailer.chain.size() + trailer.replaces.size()) * kUuidBytes +
                   (trailer.extents.size() + trailer.zeros.size()) * kRunBytes +
                   trailer.checksums.size() * sizeof(std::uint64_t));
  for (const Uuid& id : trailer.chain) lists.put(id);
  for (const Uuid& id : trailer.replaces) lists.put(id);
  for (const mapping::StoredExtent& extent : trailer.extents) {
    lists.put(extent.guest_block);
    lists.put(extent.block_count);
  }
  for (const BlockRun& run : trailer.zeros) {
    lists.put(run.first);
    lists.put(run.count);
  }
  return lists;
}

std::vector<std::byte> encode_footer(const Trailer& trailer, const FooterNumbers& numbers) {
  ByteWriter footer;
  footer.put_bytes(std::as_bytes(std::span(kMagic)));
  footer.put(kVersion);
  footer.put(static_cast<std::uint32_t>(kFooterBytes));
  footer.put(std::uint32_t{0});
  footer.put(std::uint32_t{0});
  footer.put(trailer.build_id);
  footer.put(trailer.pause_id);
  footer.put(trailer.parent);
  footer.put(trailer.memory_bytes);
  footer.put(trailer.data_blocks * kBlockBytes);
  footer.put(numbers.lists_bytes + numbers.checksum_count * sizeof(std::uint64_t) + kFooterBytes);
  footer.put(static_cast<std::uint32_t>(kBlockBytes));
  footer.put(static_cast<std::uint32_t>(trailer.layout));
  footer.put(static_cast<std::uint32_t>(trailer.chain.size()));
  footer.put(static_cast<std::uint32_t>(trailer.replaces.size()));
  footer.put(static_cast<std::uint32_t>(trailer.extents.size()));
  footer.put(static_cast<std::uint32_t>(trailer.zeros.size()));
  footer.put(numbers.checksum_count);
  footer.put(numbers.lists_checksum);
  footer.put(numbers.checksums_checksum);
  footer.put_zeros_until(kChecksumOffset);
  footer.put(checksum64(footer.view()));
  return footer.take();
}

}  // namespace

Result<std::optional<Footer>> decode_footer(std::span<const std::byte> footer,
                                            std::uint64_t file_bytes) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<FullFooter> full,
                          decode_full_footer(footer, file_bytes));
  if (!full) return std::nullopt;
  return full->sizes;
}

Result<Trailer> decode_trailer_lists(std::span<const std::byte> lists,
                                     std::span<const std::byte> footer, std::uint64_t file_bytes) {
  LAMINA_ASSIGN_OR_RETURN(const auto full, decode_full_footer(footer, file_bytes));
  if (!full || full->sizes.lists_bytes != lists.size()) {
    return fail(ErrorKind::kCorrupt, "the trailer has no footer");
  }
  return decode_lists(*full, lists);
}

Result<Trailer> decode_trailer(std::span<const std::byte> bytes, std::uint64_t file_bytes) {
  if (bytes.size() < kFooterBytes) {
    return fail(ErrorKind::kCorrupt, "the trailer has {} bytes, fewer than its footer of {}",
                bytes.size(), kFooterBytes);
  }
  const auto body = bytes.first(bytes.size() - kFooterBytes);
  LAMINA_ASSIGN_OR_RETURN(const auto footer,
                          decode_full_footer(bytes.subspan(body.size()), file_bytes));
  if (!footer || footer->sizes.trailer_bytes != bytes.size()) {
    return fail(ErrorKind::kCorrupt, "the trailer has no footer");
  }
  LAMINA_ASSIGN_OR_RETURN(Trailer trailer,
                          decode_lists(*footer, body.first(footer->sizes.lists_bytes)));
  const auto checksums = body.subspan(footer->sizes.lists_bytes);
  if (checksum64(checksums) != footer->checksums_checksum) {
    return fail(ErrorKind::kCorrupt, "the trailer's checksums do not match their checksum");
  }
  trailer.checksums = ByteReader(checksums).get_column<std::uint64_t>(footer->checksum_count);
  return trailer;
}

TrailerEnds encode_trailer_ends(const Trailer& trailer, std::uint64_t checksums_digest) {
  ByteWriter lists = encode_lists(trailer);
  const FooterNumbers numbers{.lists_bytes = lists.size(),
                              .lists_checksum = checksum64(lists.view()),
                              .checksum_count = trailer.stored_blocks(),
                              .checksums_checksum = checksums_digest};
  return {lists.take(), encode_footer(trailer, numbers)};
}

std::vector<std::byte> encode_trailer(const Trailer& trailer) {
  ByteWriter file = encode_lists(trailer);
  FooterNumbers numbers{.lists_bytes = file.size(),
                        .lists_checksum = checksum64(file.view()),
                        .checksum_count = trailer.checksums.size(),
                        .checksums_checksum = 0};
  file.put_column(std::span<const std::uint64_t>(trailer.checksums));
  numbers.checksums_checksum = checksum64(file.view().subspan(numbers.lists_bytes));
  file.put_bytes(encode_footer(trailer, numbers));
  return file.take();
}

std::uint64_t set_positions(Trailer& trailer) {
  std::uint64_t stored = 0;
  for (mapping::StoredExtent& extent : trailer.extents) {
    extent.checksum_index = static_cast<std::uint32_t>(stored);
    extent.storage_block =
        trailer.layout == LayerLayout::kCompact ? extent.checksum_index : extent.guest_block;
    stored += extent.block_count;
  }
  return stored;
}

const mapping::StoredExtent* find_stored(const Trailer& trailer, std::uint32_t guest_block) {
  const auto after = std::upper_bound(trailer.extents.begin(), trailer.extents.end(), guest_block,
                                      [](std::uint32_t block, const mapping::StoredExtent& extent) {
                                        return block < extent.guest_block;
                                      });
  if (after == trailer.extents.begin()) return nullptr;
  const mapping::StoredExtent& extent = *std::prev(after);
  return guest_block - extent.guest_block < extent.block_count ? &extent : nullptr;
}

}  // namespace lamina::format
