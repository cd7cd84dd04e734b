#include "cli/memory_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "base/block.h"

namespace lamina::cli {
namespace {

constexpr std::size_t kColumns = 64;
constexpr std::size_t kMaxRows = 16;
constexpr std::string_view kSymbols =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Bytes of one cell in each layer; slot 0 counts the zeros.
using CellUse = std::vector<std::uint64_t>;

/// The slot that is drawn for a cell: the layer that holds most of it, or zeros if no layer holds
/// any.
std::size_t dominant(const CellUse& use) {
  const auto largest = std::max_element(use.begin() + 1, use.end());
  if (largest == use.end() || *largest == 0) return 0;
  return static_cast<std::size_t>(largest - use.begin());
}

std::string colored(char symbol, std::size_t slot, bool color) {
  if (!color || slot == 0) return std::string(1, symbol);
  constexpr std::size_t kFirstColor = 31;
  constexpr std::size_t kColors = 6;
  return fmt::format("\x1b[{}m{}\x1b[0m", kFirstColor + (slot - 1) % kColors, symbol);
}

}  // namespace

char layer_symbol(std::size_t index) { return index < kSymbols.size() ? kSymbols[index] : '+'; }

std::string draw_memory_map(const SnapshotInfo& info, bool color) {
  const std::uint64_t blocks = blocks_for(info.memory_bytes);
  const std::uint64_t cells = std::min<std::uint64_t>(blocks, kColumns * kMaxRows);
  const std::uint64_t cell_bytes = (blocks + cells - 1) / cells * kBlockBytes;

  std::string drawing;
  CellUse use(info.layers.size() + 1, 0);
  std::uint64_t column = 0;
  const auto finish_cell = [&] {
    const std::size_t slot = dominant(use);
    drawing += colored(slot == 0 ? '.' : layer_symbol(slot - 1), slot, color);
    std::fill(use.begin(), use.end(), 0);
    if (++column % kColumns == 0) drawing += '\n';
  };
  std::uint64_t cell_end = cell_bytes;
  for (const ExtentInfo& extent : info.extents) {
    const std::size_t slot = extent.layer ? *extent.layer + 1U : 0;
    std::uint64_t offset = extent.offset_bytes;
    const std::uint64_t end = offset + extent.length_bytes;
    while (offset < end) {
      const std::uint64_t part_end = std::min(end, cell_end);
      use[slot] += part_end - offset;
      offset = part_end;
      if (offset == cell_end) {
        finish_cell();
        cell_end += cell_bytes;
      }
    }
  }
  const bool has_rest = std::any_of(use.begin(), use.end(), [](auto bytes) { return bytes > 0; });
  if (has_rest) finish_cell();
  if (column % kColumns != 0) drawing += '\n';
  return drawing + fmt::format("one character is {} KiB\n", cell_bytes / 1024);
}

}  // namespace lamina::cli
