#include "e2b/layer_file.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/bitmap.h"
#include "base/block.h"
#include "base/error.h"
#include "engine/block_scan.h"
#include "engine/layer_writer.h"
#include "os/file.h"

namespace lamina::e2b {
namespace {

/// Blocks that are scanned at a time.
constexpr std::size_t kScanBlocks = 64;

}  // namespace

Result<LayerFile> LayerFile::create(int directory, const std::string& name, const std::string& path,
                                    std::uint64_t memory_bytes, std::vector<BlockRun> runs) {
  LayerFile layer;
  LAMINA_ASSIGN_OR_RETURN(layer.file_,
                          os::open_at(directory, name, O_RDWR | O_CREAT | O_EXCL, path));
  layer.path_ = path;
  layer.memory_bytes_ = memory_bytes;
  std::uint64_t blocks = 0;
  for (const BlockRun& run : runs) blocks += run.count;
  layer.runs_ = std::move(runs);
  layer.windows_.resize(blocks / kWindowBlocks + 1);
  return layer;
}

bool LayerFile::is_stored(std::uint64_t number) const {
  const auto& window = windows_[number / kWindowBlocks];
  return window && is_bit_set(window->stored, number % kWindowBlocks);
}

void LayerFile::note(std::uint64_t number, std::uint64_t checksum) {
  auto& window = windows_[number / kWindowBlocks];
  if (!window) window = std::make_unique<Window>();
  const std::size_t place = number % kWindowBlocks;
  window->checksums[place] = checksum;
  write_bits(window->stored, place, place + 1, true);
}

Status LayerFile::put(std::uint32_t guest_block, std::uint64_t number,
                      std::span<const std::byte> blocks) {
  const std::uint64_t whole = memory_bytes_ / kBlockBytes;
  const std::size_t count = blocks.size() / kBlockBytes;
  if (guest_block + count > whole) {
    const std::span<const std::byte> last = blocks.last(kBlockBytes);
    LAMINA_RETURN_IF_ERROR(
        put_last(static_cast<std::uint32_t>(guest_block + count - 1), number + count - 1, last));
    blocks = blocks.first(blocks.size() - kBlockBytes);
  }
  std::array<engine::BlockScan, kScanBlocks> scans;
  while (!blocks.empty()) {
    const std::size_t now = std::min(kScanBlocks, blocks.size() / kBlockBytes);
    engine::scan_blocks(blocks.first(now * kBlockBytes), std::span(scans).first(now));
    std::size_t first = 0;  // of the run of data that is not written yet
    for (std::size_t i = 0; i <= now; ++i) {
      if (i < now && !scans[i].is_zero) {
        note(number + i, scans[i].checksum);
        continue;
      }
      if (i > first) {
        LAMINA_RETURN_IF_ERROR(
            write_run(static_cast<std::uint32_t>(guest_block + first),
                      blocks.subspan(first * kBlockBytes, (i - first) * kBlockBytes)));
      }
      if (i < now) ++zero_blocks_;
      first = i + 1;
    }
    guest_block += static_cast<std::uint32_t>(now);
    number += now;
    blocks = blocks.subspan(now * kBlockBytes);
  }
  return {};
}

/// The last block of a memory whose size is not a multiple of the block.
Status LayerFile::put_last(std::uint32_t guest_block, std::uint64_t number,
                           std::span<const std::byte> block) {
  std::array<std::byte, kBlockBytes> padded{};
  std::copy_n(block.begin(), memory_bytes_ % kBlockBytes, padded.begin());
  engine::BlockScan scan;
  engine::scan_blocks(padded, std::span(&scan, 1));
  if (scan.is_zero) {
    ++zero_blocks_;
    return {};
  }
  note(number, scan.checksum);
  return write_run(guest_block, padded);
}

Status LayerFile::write_run(std::uint32_t guest_block, std::span<const std::byte> blocks) {
  stored_blocks_ += blocks.size() / kBlockBytes;
  return os::write_at(file_.get(), blocks, guest_block * kBlockBytes, path_);
}

std::vector<mapping::StoredExtent> LayerFile::stored_extents() const {
  std::vector<mapping::StoredExtent> extents;
  std::uint64_t first_number = 0;  // of the run
  for (const BlockRun& run : runs_) {
    for (std::uint64_t i = 0; i < run.count;) {
      const std::uint64_t number = first_number + i;
      if (!windows_[number / kWindowBlocks]) {
        i += kWindowBlocks - number % kWindowBlocks;
        continue;
      }
      if (is_stored(number)) {
        const auto block = static_cast<std::uint32_t>(run.first + i);
        if (!extents.empty() && extents.back().guest_end() == block) {
          ++extents.back().block_count;
        } else {
          extents.push_back({block, 1, 0, 0});
        }
      }
      ++i;
    }
    first_number += run.count;
  }
  return extents;
}

Status LayerFile::finish(format::Trailer trailer) {
  trailer.memory_bytes = memory_bytes_;
  // Without data there is no need for a file of the memory's size.
  trailer.layout =
      stored_blocks_ == 0 ? format::LayerLayout::kCompact : format::LayerLayout::kAdopted;
  trailer.data_blocks = stored_blocks_ == 0 ? 0 : blocks_for(memory_bytes_);
  trailer.checksums.reserve(stored_blocks_);
  for (std::unique_ptr<Window>& window : windows_) {
    if (!window) continue;
    for (std::size_t i = 0; i < kWindowBlocks; ++i) {
      if (is_bit_set(window->stored, i)) trailer.checksums.push_back(window->checksums[i]);
    }
    window.reset();
  }
  format::set_positions(trailer);
  return engine::finish_layer(file_.get(), trailer, path_);
}

}  // namespace lamina::e2b
