// The scan of a full memory file (zero test and checksum of each block): how its bytes come to the
// loop that looks at them, and by how many threads.
//
// "ours" is the engine's scan as ingest runs it; "pread" its bare loop, so that what the engine
// does besides shows. A mapping is scanned in place, which saves the copy but means that a file
// that is cut meanwhile ends the process by a signal, and that what is stored need not be what was
// hashed.
#include <fcntl.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "engine/memory_scan.h"
#include "guest_memory.h"
#include "os/file.h"
#include "scan_ways.h"
#include "storage_suspects.h"
#include "suspect_files.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 41;

struct ScannedFile {
  std::string path;
  os::Fd fd;
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
  LAMINA_ASSIGN_OR_RETURN(const os::Fd source, open_file(from, O_RDONLY));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd target, create_file(to));
  std::vector<std::byte> block(kBlockBytes);
  for (std::uint64_t offset = 0; offset < bytes; offset += kBlockBytes) {
    LAMINA_RETURN_IF_ERROR(os::read_exactly_at(source.get(), block, offset, from));
    LAMINA_RETURN_IF_ERROR(os::write_at(target.get(), block, offset, to));
  }
  return os::sync(target.get(), to);
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
