// The scan of a full memory file (zero test and checksum of each block): how its bytes come to the
// loop that looks at them, and by how many threads.
//
// "ours" is the engine's scan as ingest runs it; "pread" its bare loop, so that what the engine
// does besides shows. A mapping is scanned in place, which saves the copy but means that a file
// that is cut meanwhile ends the process by a signal, and that what is stored need not be what was
// hashed.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <semaphore>
#include <thread>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "engine/block_scan.h"
#include "engine/memory_scan.h"
#include "engine/transfer.h"
#include "storage_suspects.h"
#include "suspect_files.h"
#include "sys/file.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 41;
constexpr std::uint64_t kChunkBytes = engine::kChunkBlocks * kBlockBytes;

/// What a scan finds: the checksums of the blocks that are not zeros.
class Found {
 public:
  void add(std::span<const std::byte> blocks) {
    const std::size_t count = blocks.size() / kBlockBytes;
    engine::scan_blocks(blocks, scans_);
    for (std::size_t i = 0; i < count; ++i) {
      if (!scans_[i].is_zero) checksums_.push_back(scans_[i].checksum);
    }
  }

  void add(const Found& later) {
    checksums_.insert(checksums_.end(), later.checksums_.begin(), later.checksums_.end());
  }

  [[nodiscard]] const std::vector<std::uint64_t>& checksums() const { return checksums_; }

 private:
  std::array<engine::BlockScan, engine::kChunkBlocks> scans_{};
  std::vector<std::uint64_t> checksums_;
};

/// Reads and scans [begin, end), both multiples of a chunk.
Status scan_range(int fd, std::uint64_t begin, std::uint64_t end, Found& found) {
  std::vector<std::byte> buffer(kChunkBytes);
  for (std::uint64_t offset = begin; offset < end; offset += kChunkBytes) {
    LAMINA_RETURN_IF_ERROR(sys::read_exactly_at(fd, buffer, offset, "the memory file"));
    found.add(buffer);
  }
  return {};
}

/// Scans the file in a mapping; with `populate_bytes` its pages are mapped that many at a time.
Status scan_mapping(int fd, std::uint64_t bytes, std::uint64_t populate_bytes, Found& found) {
  LAMINA_ASSIGN_OR_RETURN(const FileMapping mapping, FileMapping::create(fd, bytes));
  for (std::uint64_t offset = 0; offset < bytes; offset += kChunkBytes) {
    if (populate_bytes != 0 && offset % populate_bytes == 0) {
      LAMINA_RETURN_IF_ERROR(mapping.advise(offset, std::min(populate_bytes, bytes - offset),
                                            MADV_POPULATE_READ, "populate"));
    }
    found.add(mapping.bytes().subspan(offset, kChunkBytes));
  }
  return {};
}

/// One thread reads, this one scans what it has read.
Status scan_pipelined(int fd, std::uint64_t bytes, Found& found) {
  constexpr std::size_t kBuffers = 4;
  std::array<std::vector<std::byte>, kBuffers> buffers;
  for (auto& buffer : buffers) buffer.resize(kChunkBytes);
  std::counting_semaphore<kBuffers + 1> free_buffers(kBuffers);
  std::counting_semaphore<kBuffers + 1> full_buffers(0);
  std::atomic<bool> failed = false;
  Status read;
  std::jthread reader([&] {
    for (std::uint64_t i = 0; i < bytes / kChunkBytes && !failed; ++i) {
      free_buffers.acquire();
      read = sys::read_exactly_at(fd, buffers[i % kBuffers], i * kChunkBytes, "the memory file");
      failed = !read;
      full_buffers.release();
    }
  });
  for (std::uint64_t i = 0; i < bytes / kChunkBytes; ++i) {
    full_buffers.acquire();
    if (failed) break;
    found.add(buffers[i % kBuffers]);
    free_buffers.release();
  }
  reader.join();
  return read;
}

/// Each of two threads reads and scans a half.
Status scan_halves(int fd, std::uint64_t bytes, Found& found) {
  const std::uint64_t middle = bytes / 2 / kChunkBytes * kChunkBytes;
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

struct ScannedFile {
  std::string path;
  sys::Fd fd;
  std::uint64_t bytes = 0;
  std::vector<std::uint64_t> checksums;  ///< what every way must find

  [[nodiscard]] Result<std::vector<std::uint64_t>> scan_by_engine() const {
    engine::MemoryScan scan;
    scan.memory_file = fd.get();
    scan.path = path;
    scan.memory_bytes = bytes;
    LAMINA_ASSIGN_OR_RETURN(engine::MemoryScanResult result, engine::scan_memory_file(scan));
    return std::move(result.checksums);
  }
};

enum class Cache : std::uint8_t { kWarm, kCold };

class ScanContenders {
 public:
  ScanContenders(const ScannedFile& file, Cache cache) : file_(file), cache_(cache) {}

  Contender ours() {
    return make("ours", [this]() -> Status {
      LAMINA_ASSIGN_OR_RETURN(found_, file_.scan_by_engine());
      return {};
    });
  }

  Contender loop(const std::string& name, std::function<Status(int, std::uint64_t, Found&)> scan) {
    return make(name, [this, scan = std::move(scan)]() -> Status {
      Found found;
      LAMINA_RETURN_IF_ERROR(scan(file_.fd.get(), file_.bytes, found));
      found_ = found.checksums();
      return {};
    });
  }

 private:
  Contender make(const std::string& name, std::function<Status()> run) {
    return {name,
            [this] { return cache_ == Cache::kCold ? make_cold(file_.path) : Status{}; },
            std::move(run),
            [this]() -> Status {
              if (found_ == file_.checksums) return {};
              return fail(ErrorKind::kCorrupt, "other checksums than the engine's");
            },
            {}};
  }

  const ScannedFile& file_;
  Cache cache_;
  std::vector<std::uint64_t> found_;
};

Status scan_whole(int fd, std::uint64_t bytes, Found& found) {
  return scan_range(fd, 0, bytes, found);
}

Status compare_mappings(Bench& bench, const std::string& name, const ScannedFile& file,
                        Cache cache) {
  constexpr std::uint64_t kPopulateBytes = std::uint64_t{2} << 20;
  if (!bench.wants(name)) return {};
  ScanContenders contenders(file, cache);
  Comparison comparison;
  comparison.name = name;
  comparison.what = "scan of a full file: read into a buffer, or in place in a mapping";
  comparison.bytes = file.bytes;
  comparison.contenders = {
      contenders.ours(), contenders.loop("pread", scan_whole),
      contenders.loop("mmap", [](int fd, std::uint64_t bytes,
                                 Found& found) { return scan_mapping(fd, bytes, 0, found); }),
      contenders.loop("mmap-populate", [](int fd, std::uint64_t bytes, Found& found) {
        return scan_mapping(fd, bytes, kPopulateBytes, found);
      })};
  return bench.run(comparison);
}

Status compare_threads(Bench& bench, const std::string& name, const ScannedFile& file,
                       Cache cache) {
  if (!bench.wants(name)) return {};
  ScanContenders contenders(file, cache);
  Comparison comparison;
  comparison.name = name;
  comparison.what = "scan of a full file: one thread, one that reads and one that scans, or halves";
  comparison.bytes = file.bytes;
  comparison.contenders = {contenders.ours(), contenders.loop("pread", scan_whole),
                           contenders.loop("pipeline", scan_pipelined),
                           contenders.loop("halves", scan_halves)};
  return bench.run(comparison);
}

/// Writes the memory block by block: the page cache then holds it in single pages, where larger
/// writes make larger folios, and each page fault of a mapping maps less.
Status rewrite_by_blocks(const std::string& from, const std::string& to, std::uint64_t bytes) {
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd source, open_file(from, O_RDONLY));
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd target, create_file(to));
  std::vector<std::byte> block(kBlockBytes);
  for (std::uint64_t offset = 0; offset < bytes; offset += kBlockBytes) {
    LAMINA_RETURN_IF_ERROR(sys::read_exactly_at(source.get(), block, offset, from));
    LAMINA_RETURN_IF_ERROR(sys::write_at(target.get(), block, offset, to));
  }
  return sys::sync(target.get(), to);
}

Status compare_small_pages(Bench& bench, const std::string& name, const ScannedFile& file) {
  if (!bench.wants(name)) return {};
  ScannedFile by_blocks;
  by_blocks.path = file.path + "-by-blocks";
  by_blocks.bytes = file.bytes;
  by_blocks.checksums = file.checksums;
  LAMINA_RETURN_IF_ERROR(rewrite_by_blocks(file.path, by_blocks.path, file.bytes));
  LAMINA_ASSIGN_OR_RETURN(by_blocks.fd, open_file(by_blocks.path, O_RDONLY));
  LAMINA_RETURN_IF_ERROR(compare_mappings(bench, name, by_blocks, Cache::kWarm));
  return remove_all(by_blocks.path);
}

}  // namespace

Status run_scan_suspects(Bench& bench) {
  const std::vector<std::string> names = {"suspect-scan-mmap", "suspect-scan-mmap-cold",
                                          "suspect-scan-mmap-small-pages", "suspect-scan-threads",
                                          "suspect-scan-threads-cold"};
  if (std::ranges::none_of(names, [&](const auto& name) { return bench.wants(name); })) return {};
  ScannedFile file;
  file.path = bench.directory() + "/scanned";
  file.bytes = bench.memory_bytes();
  LAMINA_RETURN_IF_ERROR(
      GuestMemory::dense(bench.memory_blocks(), kSeed).write_full_file(file.path));
  LAMINA_ASSIGN_OR_RETURN(file.fd, open_file(file.path, O_RDONLY));
  LAMINA_ASSIGN_OR_RETURN(file.checksums, file.scan_by_engine());
  LAMINA_RETURN_IF_ERROR(compare_mappings(bench, names[0], file, Cache::kWarm));
  LAMINA_RETURN_IF_ERROR(compare_mappings(bench, names[1], file, Cache::kCold));
  LAMINA_RETURN_IF_ERROR(compare_small_pages(bench, names[2], file));
  LAMINA_RETURN_IF_ERROR(compare_threads(bench, names[3], file, Cache::kWarm));
  LAMINA_RETURN_IF_ERROR(compare_threads(bench, names[4], file, Cache::kCold));
  return remove_all(file.path);
}

}  // namespace lamina::bench
