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
/// Of the 256 colours of terminals.
constexpr unsigned kZeroColor = 236;
constexpr unsigned kYoungestColor = 208;
constexpr std::array kLayerColors = {31U, 71U, 134U, 37U, 161U, 142U, 68U, 173U};

/// The parts of the memory, each with the slot that holds most of it: 0 for zeros (only if no
/// layer holds any), else the number of the layer from 1 on.
struct Cells {
  std::uint64_t bytes_each = 0;
  std::vector<std::size_t> slots;
};

/// Bytes of one cell in each layer; slot 0 counts the zeros.
using CellUse = std::vector<std::uint64_t>;

/// The slot that is drawn for a cell: the layer that holds most of it, or zeros if no layer holds
/// any.
std::size_t dominant(const CellUse& use) {
  const auto largest = std::max_element(use.begin() + 1, use.end());
  if (largest == use.end() || *largest == 0) return 0;
  return static_cast<std::size_t>(largest - use.begin());
}

Cells cells_of(const SnapshotInfo& info, std::uint64_t most) {
  const std::uint64_t blocks = blocks_for(info.memory_bytes);
  const std::uint64_t count = std::min(blocks, most);
  Cells cells{(blocks + count - 1) / count * kBlockBytes, {}};
  CellUse use(info.layers.size() + 1, 0);
  const auto finish_cell = [&] {
    cells.slots.push_back(dominant(use));
    std::fill(use.begin(), use.end(), 0);
  };
  std::uint64_t cell_end = cells.bytes_each;
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
        cell_end += cells.bytes_each;
      }
    }
  }
  if (std::any_of(use.begin(), use.end(), [](auto bytes) { return bytes > 0; })) finish_cell();
  return cells;
}

std::string colored(char symbol, std::size_t slot, bool color) {
  if (!color || slot == 0) return std::string(1, symbol);
  constexpr std::size_t kFirstColor = 31;
  constexpr std::size_t kColors = 6;
  return fmt::format("\x1b[{}m{}\x1b[0m", kFirstColor + (slot - 1) % kColors, symbol);
}

std::string draw_characters(const Cells& cells, bool color) {
  std::string drawing;
  for (std::size_t i = 0; i < cells.slots.size(); ++i) {
    const std::size_t slot = cells.slots[i];
    drawing += colored(slot == 0 ? '.' : layer_symbol(slot - 1), slot, color);
    if ((i + 1) % kColumns == 0) drawing += '\n';
  }
  if (cells.slots.size() % kColumns != 0) drawing += '\n';
  return drawing;
}

unsigned color_of(std::size_t slot, std::size_t layers) {
  if (slot == 0) return kZeroColor;
  return slot == layers ? kYoungestColor : kLayerColors.at((slot - 1) % kLayerColors.size());
}

/// The upper cell in the colour of the text, the lower one in that of the background.
std::string draw_half_blocks(const Cells& cells, std::size_t layers) {
  std::string drawing;
  const std::vector<std::size_t>& slots = cells.slots;
  for (std::size_t row = 0; row < slots.size(); row += 2 * kColumns) {
    for (std::size_t at = row; at < std::min(row + kColumns, slots.size()); ++at) {
      drawing += fmt::format("\x1b[38;5;{}m", color_of(slots[at], layers));
      if (at + kColumns < slots.size()) {
        drawing += fmt::format("\x1b[48;5;{}m", color_of(slots[at + kColumns], layers));
      } else {
        drawing += "\x1b[49m";
      }
      drawing += "▀";
    }
    drawing += "\x1b[0m\n";
  }
  for (std::size_t slot = 0; slot <= layers; ++slot) {
    constexpr std::size_t kMostListed = 16;
    if (slot == kMostListed) return drawing + fmt::format("and {} more\n", layers + 1 - slot);
    const std::string name = slot == 0 ? "zeros" : std::string(1, layer_symbol(slot - 1));
    drawing += fmt::format("\x1b[38;5;{}m■\x1b[0m {}{}", color_of(slot, layers), name,
                           slot == layers ? "\n" : "  ");
  }
  return drawing;
}

}  // namespace

char layer_symbol(std::size_t index) { return index < kSymbols.size() ? kSymbols[index] : '+'; }

std::string draw_memory_map(const SnapshotInfo& info, MapStyle style) {
  const bool has_halves = style == MapStyle::kHalfBlocks;
  const Cells cells = cells_of(info, kColumns * kMaxRows * (has_halves ? 2 : 1));
  const std::string drawing = has_halves ? draw_half_blocks(cells, info.layers.size())
                                         : draw_characters(cells, style == MapStyle::kColor);
  return drawing + fmt::format("one {} is {} KiB\n", has_halves ? "half character" : "character",
                               cells.bytes_each / 1024);
}

}  // namespace lamina::cli
