// Runs of 16 blocks of cached layers at random: read into a buffer (ours), or copied from a mapping
// of the layer. "mapping" maps anew for each run of the benchmark, so that its page faults count;
// "mapping-kept" has been mapped and touched before; "mapping-huge" is new and has MADV_HUGEPAGE,
// which needs a file system that keeps files in huge pages: tmpfs with huge=always here.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "os/file.h"
#include "storage_suspects.h"
#include "suspect_files.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 23;
constexpr std::uint32_t kLayers = 8;
constexpr std::uint32_t kRunBlocks = 16;
constexpr std::uint64_t kRunBytes = kRunBlocks * kBlockBytes;

using RunBuffer = std::array<std::byte, kRunBytes>;
using Maps = std::vector<FileMapping>;

/// Copies a run of a layer into the buffer.
using Reader = std::function<Status(std::size_t layer, std::uint32_t block, RunBuffer& buffer)>;

/// A tmpfs that keeps files in huge pages, mounted while this object lives.
class HugeTmpfs {
 public:
  static Result<HugeTmpfs> create(const std::string& mount_point, std::uint64_t bytes) {
    std::filesystem::create_directory(mount_point);
    const std::string options = fmt::format("huge=always,size={}", bytes);
    if (::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, options.c_str()) != 0) {
      return system_failure("mount tmpfs on", mount_point, errno);
    }
    return HugeTmpfs(mount_point);
  }
  HugeTmpfs(HugeTmpfs&& other) noexcept : mount_point_(std::exchange(other.mount_point_, {})) {}
  HugeTmpfs& operator=(HugeTmpfs&&) = delete;
  HugeTmpfs(const HugeTmpfs&) = delete;
  HugeTmpfs& operator=(const HugeTmpfs&) = delete;
  ~HugeTmpfs() {
    if (!mount_point_.empty()) ::umount2(mount_point_.c_str(), MNT_DETACH);
  }

 private:
  explicit HugeTmpfs(std::string mount_point) : mount_point_(std::move(mount_point)) {}

  std::string mount_point_;
};

/// KiB of this process' files that are mapped by huge pages now.
std::uint64_t huge_mapped_kib() {
  std::ifstream file("/proc/self/smaps_rollup");
  std::uint64_t sum = 0;
  for (std::string word; file >> word;) {
    if (word != "ShmemPmdMapped:" && word != "FilePmdMapped:") continue;
    std::uint64_t kib = 0;
    if (file >> kib) sum += kib;
  }
  return sum;
}

class RandomRuns {
 public:
  explicit RandomRuns(const LayerFiles& layers) : layers_(layers) {
    for (std::size_t layer = 0; layer < layers.count(); ++layer) {
      for (std::uint32_t block = 0; block + kRunBlocks <= layers.blocks(); block += kRunBlocks) {
        runs_.emplace_back(layer, block);
      }
    }
    std::mt19937_64 random(kSeed);
    std::shuffle(runs_.begin(), runs_.end(), random);
  }

  [[nodiscard]] std::uint64_t bytes() const { return runs_.size() * kRunBytes; }
  [[nodiscard]] std::uint64_t huge_kib() const { return huge_kib_; }

  Contender ours() {
    return make("ours", [this](std::size_t layer, std::uint32_t block, RunBuffer& buffer) {
      return os::read_exactly_at(layers_.fd(layer), buffer, block * kBlockBytes, "a layer");
    });
  }

  Contender kept_mapping(const Maps& maps) { return make("mapping-kept", copy_from(maps)); }

  Contender fresh_mapping(const std::string& name, int advice) {
    return {name,
            {},
            [this, advice]() -> Status {
              LAMINA_ASSIGN_OR_RETURN(const Maps maps, map_all(advice));
              return read_all(copy_from(maps));
            },
            [this, advice]() -> Status {
              const std::uint64_t before = huge_mapped_kib();
              LAMINA_ASSIGN_OR_RETURN(const Maps maps, map_all(advice));
              LAMINA_RETURN_IF_ERROR(check(copy_from(maps)));
              if (advice == MADV_HUGEPAGE) huge_kib_ = huge_mapped_kib() - before;
              return {};
            },
            {}};
  }

  /// Maps all layers; an `advice` other than MADV_NORMAL is given for each.
  [[nodiscard]] Result<Maps> map_all(int advice) const {
    Maps maps;
    for (std::size_t i = 0; i < layers_.count(); ++i) {
      const std::uint64_t bytes = layers_.blocks() * kBlockBytes;
      LAMINA_ASSIGN_OR_RETURN(FileMapping mapping, FileMapping::create(layers_.fd(i), bytes));
      if (advice != MADV_NORMAL)
        LAMINA_RETURN_IF_ERROR(mapping.advise(0, bytes, advice, "a layer"));
      maps.push_back(std::move(mapping));
    }
    return maps;
  }

 private:
  static Reader copy_from(const Maps& maps) {
    return [&maps](std::size_t layer, std::uint32_t block, RunBuffer& buffer) -> Status {
      std::memcpy(buffer.data(), &maps[layer].bytes()[block * kBlockBytes], buffer.size());
      return {};
    };
  }

  Contender make(const std::string& name, const Reader& reader) {
    return {name,
            {},
            [this, reader] { return read_all(reader); },
            [this, reader] { return check(reader); },
            {}};
  }

  [[nodiscard]] Status read_all(const Reader& reader) {
    for (const auto& [layer, block] : runs_) LAMINA_RETURN_IF_ERROR(reader(layer, block, buffer_));
    return {};
  }

  [[nodiscard]] Status check(const Reader& reader) {
    for (const auto& [layer, block] : runs_) {
      LAMINA_RETURN_IF_ERROR(reader(layer, block, buffer_));
      LAMINA_RETURN_IF_ERROR(layers_.check(layer, block, buffer_));
    }
    return {};
  }

  const LayerFiles& layers_;
  std::vector<std::pair<std::size_t, std::uint32_t>> runs_;
  RunBuffer buffer_{};
  std::uint64_t huge_kib_ = 0;
};

Status compare(Bench& bench, const std::string& name, const std::string& directory) {
  LAMINA_ASSIGN_OR_RETURN(const LayerFiles layers,
                          LayerFiles::create(directory, kLayers, bench.memory_blocks() / kLayers));
  RandomRuns runs(layers);
  LAMINA_ASSIGN_OR_RETURN(const Maps kept, runs.map_all(MADV_POPULATE_READ));
  Comparison comparison;
  comparison.name = name;
  comparison.what = "runs of 16 blocks of 8 cached layers at random: pread, or a copy of a mapping";
  comparison.bytes = runs.bytes();
  comparison.contenders = {runs.ours(), runs.fresh_mapping("mapping", MADV_NORMAL),
                           runs.kept_mapping(kept)};
  if (const auto huge = runs.map_all(MADV_HUGEPAGE)) {
    comparison.contenders.push_back(runs.fresh_mapping("mapping-huge", MADV_HUGEPAGE));
  } else {
    bench.skip(name + " (mapping-huge)", huge.error().message);
  }
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note(fmt::format("of {} MiB, mapping-huge has {} MiB mapped by huge pages",
                         runs.bytes() >> 20, runs.huge_kib() >> 10));
  return {};
}

}  // namespace

Status run_layer_mapping_suspects(Bench& bench) {
  const std::string directory = bench.directory() + "/suspect-layers";
  const std::string here = "suspect-layer-mapping/here";
  const std::string huge = "suspect-layer-mapping/tmpfs-huge";
  if (bench.wants(here)) {
    std::filesystem::create_directory(directory);
    LAMINA_RETURN_IF_ERROR(compare(bench, here, directory));
    LAMINA_RETURN_IF_ERROR(remove_all(directory));
  }
  if (!bench.wants(huge)) return {};
  {
    constexpr std::uint64_t kRoomBytes = std::uint64_t{64} << 20;
    const auto tmpfs = HugeTmpfs::create(directory, bench.memory_bytes() + kRoomBytes);
    if (!tmpfs) {
      bench.skip(huge, tmpfs.error().message);
      return {};
    }
    LAMINA_RETURN_IF_ERROR(compare(bench, huge, directory));
  }
  return remove_all(directory);
}

}  // namespace lamina::bench
