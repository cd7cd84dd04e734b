#include "pager/portion.h"

#include <algorithm>

#include "base/block.h"
#include "base/error.h"

namespace lamina::pager {

void Portion::clear() {
  piece_count = 0;
  plan_blocks = 0;
  next_piece = 0;
  next_block = 0;
}

std::uint32_t join_pieces(std::span<Piece> pieces, const RegionTable& regions) {
  const auto before = [](const Piece& a, const Piece& b) { return a.first < b.first; };
  if (!std::is_sorted(pieces.begin(), pieces.end(), before)) {
    std::sort(pieces.begin(), pieces.end(), before);
  }
  std::uint32_t joined = 0;
  for (const Piece& piece : pieces) {
    Piece* last = joined > 0 ? &pieces[joined - 1] : nullptr;
    // Overlapping pieces are of the same kind and region.
    if (last != nullptr && piece.first <= last->end() && piece.zero == last->zero &&
        regions.find_block(piece.first) == regions.find_block(last->first)) {
      last->count = std::max(last->end(), piece.end()) - last->first;
    } else {
      pieces[joined++] = piece;
    }
  }
  std::uint32_t buffer_block = 0;
  for (Piece& piece : pieces.first(joined)) {
    piece.buffer_block = buffer_block;
    if (!piece.zero) buffer_block += piece.count;
  }
  return joined;
}

Status read_portion(const Portion& portion) {
  const std::uint32_t memory_blocks = portion.chain->mapping().block_count();
  for (const Piece& piece : portion.planned()) {
    if (piece.zero) continue;
    const auto data =
        portion.buffer.subspan(piece.buffer_block * kBlockBytes, piece.count * kBlockBytes);
    const std::size_t known = std::min(piece.count, memory_blocks - piece.first) * kBlockBytes;
    LAMINA_RETURN_IF_ERROR(
        portion.chain->read(piece.first, data.first(known), engine::Chain::Check::kChecksums));
    std::fill(data.begin() + static_cast<std::ptrdiff_t>(known), data.end(), std::byte{0});
  }
  return {};
}

}  // namespace lamina::pager
