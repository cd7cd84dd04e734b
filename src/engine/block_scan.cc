#include "engine/block_scan.h"

#include <array>
#include <cassert>

#include "base/block.h"
#include "engine/block_scan_paths.h"

namespace lamina::engine {
namespace {

struct Paths {
  std::array<ScanPath, 2> paths;
  std::size_t count = 0;
};

Paths find_paths() {
  Paths found;
#ifdef LAMINA_HAVE_AVX2_PATH
  if (__builtin_cpu_supports("avx2") != 0) found.paths[found.count++] = avx2_scan_path();
#endif
  found.paths[found.count++] = portable_scan_path();
  return found;
}

}  // namespace

std::span<const ScanPath> scan_paths() {
  static const Paths found = find_paths();
  return std::span(found.paths).first(found.count);
}

void scan_blocks(std::span<const std::byte> blocks, std::span<BlockScan> results) {
  assert(blocks.size() % kBlockBytes == 0 && results.size() >= blocks.size() / kBlockBytes);
  scan_paths().front().scan(blocks.data(), blocks.size() / kBlockBytes, results.data());
}

std::uint64_t block_checksum(std::span<const std::byte> block) {
  return scan_paths().front().checksum(block.data(), block.size());
}

}  // namespace lamina::engine
