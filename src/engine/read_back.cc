#include "engine/read_back.h"

#include <algorithm>

#include "base/block.h"
#include "engine/block_scan.h"
#include "os/file.h"

namespace lamina::engine {

bool blocks_match(int fd, std::uint64_t first_block, std::span<const std::uint64_t> checksums,
                  std::span<std::byte> buffer, const std::string& path) {
  const std::size_t chunk_blocks = buffer.size() / kBlockBytes;
  for (std::size_t done = 0; done < checksums.size();) {
    const std::size_t count = std::min(chunk_blocks, checksums.size() - done);
    const auto chunk = buffer.first(count * kBlockBytes);
    if (!os::read_exactly_at(fd, chunk, (first_block + done) * kBlockBytes, path)) return false;
    for (std::size_t i = 0; i < count; ++i) {
      const auto block = chunk.subspan(i * kBlockBytes, kBlockBytes);
      if (block_checksum(block) != checksums[done + i]) return false;
    }
    done += count;
  }
  return true;
}

}  // namespace lamina::engine
