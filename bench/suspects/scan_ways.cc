#include "scan_ways.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <semaphore>
#include <thread>

#include "base/error.h"
#include "os/file.h"
#include "suspect_files.h"

namespace lamina::bench {
namespace {

/// Reads and scans [begin, end), both multiples of a chunk.
Status scan_range(int fd, std::uint64_t begin, std::uint64_t end, Found& found) {
  std::vector<std::byte> buffer(kScanBytes);
  for (std::uint64_t offset = begin; offset < end; offset += kScanBytes) {
    LAMINA_RETURN_IF_ERROR(os::read_exactly_at(fd, buffer, offset, "the memory file"));
    found.add(buffer);
  }
  return {};
}

}  // namespace

Status scan_whole(int fd, std::uint64_t bytes, Found& found) {
  return scan_range(fd, 0, bytes, found);
}

Status scan_mapping(int fd, std::uint64_t bytes, std::uint64_t populate_bytes, Found& found) {
  LAMINA_ASSIGN_OR_RETURN(const FileMapping mapping, FileMapping::create(fd, bytes));
  for (std::uint64_t offset = 0; offset < bytes; offset += kScanBytes) {
    if (populate_bytes != 0 && offset % populate_bytes == 0) {
      LAMINA_RETURN_IF_ERROR(mapping.advise(offset, std::min(populate_bytes, bytes - offset),
                                            MADV_POPULATE_READ, "populate"));
    }
    found.add(mapping.bytes().subspan(offset, kScanBytes));
  }
  return {};
}

Status scan_pipelined(int fd, std::uint64_t bytes, Found& found) {
  constexpr std::size_t kBuffers = 4;
  std::array<std::vector<std::byte>, kBuffers> buffers;
  for (auto& buffer : buffers) buffer.resize(kScanBytes);
  std::counting_semaphore<kBuffers + 1> free_buffers(kBuffers);
  std::counting_semaphore<kBuffers + 1> full_buffers(0);
  std::atomic<bool> failed = false;
  Status read;
  std::jthread reader([&] {
    for (std::uint64_t i = 0; i < bytes / kScanBytes && !failed; ++i) {
      free_buffers.acquire();
      read = os::read_exactly_at(fd, buffers[i % kBuffers], i * kScanBytes, "the memory file");
      failed = !read;
      full_buffers.release();
    }
  });
  for (std::uint64_t i = 0; i < bytes / kScanBytes; ++i) {
    full_buffers.acquire();
    if (failed) break;
    found.add(buffers[i % kBuffers]);
    free_buffers.release();
  }
  reader.join();
  return read;
}

Status scan_halves(int fd, std::uint64_t bytes, Found& found) {
  const std::uint64_t middle = bytes / 2 / kScanBytes * kScanBytes;
  Found second;
  Status scanned_second;
  std::jthread other([&] { scanned_second = scan_range(fd, middle, bytes, second); });
  const Status scanned_first = scan_range(fd, 0, middle, found);
  other.join();
  LAMINA_RETURN_IF_ERROR(scanned_first);
  LAMINA_RETURN_IF_ERROR(scanned_second);
  found.add(second);
  return {};
}

}  // namespace lamina::bench
