// Populating from a layer: read into a buffer and copied, as ours, beside copies straight from a
// mapping of the layer; with the layer in the page cache, and cold.
//
// What a mapping copies is not what was checked: a page that changes in between reaches the guest.
#include "suspects_populate.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <memory>
#include <random>

#include "base/block.h"
#include "base/error.h"
#include "fault_contenders.h"
#include "suspects_loop.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 23;
constexpr std::uint32_t kPortionBlocks = 512;

std::vector<BarePortion> portions_in_order(std::uint32_t blocks) {
  std::vector<BarePortion> portions;
  for (std::uint32_t block = 0; block < blocks; block += kPortionBlocks) {
    portions.push_back({{block, std::min(kPortionBlocks, blocks - block)}});
  }
  return portions;
}

/// A quarter of the memory in runs of 1 to 32 blocks, in random order, as a resume records them;
/// in a portion they are sorted, as ours sorts them.
std::vector<BarePortion> recorded_portions(std::uint32_t blocks) {
  constexpr std::uint32_t kLongest = 32;
  std::mt19937_64 random(kSeed);
  std::vector<BarePortion> portions(1);
  std::uint32_t room = kPortionBlocks;
  std::uint32_t wanted = blocks / 4;
  for (const std::uint32_t number : blocks_shuffled(blocks / kLongest, kSeed)) {
    if (wanted == 0) break;
    const auto drawn = static_cast<std::uint32_t>(1 + random() % kLongest);
    const std::uint32_t count = std::min({drawn, wanted, room});
    portions.back().push_back({number * kLongest, count});
    wanted -= count;
    room -= count;
    if (room > 0) continue;
    portions.emplace_back();
    room = kPortionBlocks;
  }
  for (BarePortion& portion : portions) {
    std::ranges::sort(portion, {}, &format::BlockRun::guest_block);
  }
  return portions;
}

std::vector<std::uint32_t> blocks_of(const std::vector<BarePortion>& portions) {
  std::vector<std::uint32_t> blocks;
  for (const BarePortion& portion : portions) {
    for (const format::BlockRun& run : portion) {
      for (std::uint32_t i = 0; i < run.block_count; ++i) blocks.push_back(run.guest_block + i);
    }
  }
  return blocks;
}

/// A whole mapping of the layer, its pages mapped; gone with the last owner.
Result<std::shared_ptr<const std::byte>> map_layer(const BareLayer& layer) {
  const std::size_t bytes = layer.bytes().size();
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, layer.fd(), 0);
  if (memory == MAP_FAILED) return system_failure("mmap", layer.path(), errno);
  return std::shared_ptr<const std::byte>(
      static_cast<const std::byte*>(memory),
      [bytes](const std::byte* mapped) { ::munmap(const_cast<std::byte*>(mapped), bytes); });
}

/// False where the kernel has no huge pages for mappings.
bool has_huge_mappings(const BareLayer& layer) {
  const std::size_t bytes = layer.bytes().size();
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, layer.fd(), 0);
  if (memory == MAP_FAILED) return false;
  const bool accepted = ::madvise(memory, bytes, MADV_HUGEPAGE) == 0;
  ::munmap(memory, bytes);
  return accepted;
}

/// Drops the layer from the page cache; returns how much of it stays, in per cent.
Result<double> drop_cache(const BareLayer& layer) {
  const std::size_t bytes = layer.bytes().size();
  const int error = ::posix_fadvise(layer.fd(), 0, static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
  if (error != 0) return system_failure("posix_fadvise", layer.path(), error);
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, layer.fd(), 0);
  if (memory == MAP_FAILED) return system_failure("mmap", layer.path(), errno);
  std::vector<unsigned char> pages(bytes / kBlockBytes);
  const int failed = ::mincore(memory, bytes, pages.data());
  ::munmap(memory, bytes);
  if (failed != 0) return system_failure("mincore", layer.path(), errno);
  const auto cached = std::ranges::count_if(pages, [](unsigned char one) { return one & 1U; });
  constexpr double kPerCent = 100;
  return kPerCent * static_cast<double>(cached) / static_cast<double>(pages.size());
}

/// What this process has had read from disks so far, in MiB.
double disk_mebibytes() {
  std::ifstream io("/proc/self/io");
  std::string word;
  double bytes = 0;
  while (io >> word && word != "read_bytes:") {
  }
  io >> bytes;
  return bytes / (1 << 20);
}

struct PopulateCase {
  std::string name;
  bool cold = false;
  std::vector<BarePortion> portions;
  std::vector<PopulateWay> ways;
};

Status measure(Bench& bench, const BareLayer& layer, const PopulateCase& one) {
  if (!bench.wants(one.name)) return {};
  const Placement placement = placements().back();
  const std::vector<std::uint32_t> blocks = blocks_of(one.portions);
  PopulateBuffers buffers;
  FigureTable figures;
  std::shared_ptr<const std::byte> kept;
  if (!one.cold) {
    LAMINA_ASSIGN_OR_RETURN(kept, map_layer(layer));
  }
  const std::span<const std::byte> kept_bytes{kept.get(), kept ? layer.bytes().size() : 0};
  Comparison comparison = suspect_comparison(
      one.name,
      fmt::format("{} MiB from a {} layer: read ahead by a helper into buffers (ours), read by the "
                  "copier, copied from mappings",
                  blocks.size() * kBlockBytes >> 20, one.cold ? "cold" : "cached"),
      layer.bytes().size());
  comparison.bytes = blocks.size() * kBlockBytes;
  std::unique_ptr<BareGuest> guest;
  std::unique_ptr<Pinned> pinned;
  for (const PopulateWay& way : one.ways) {
    if (way.source == Source::kHugeMapping && !has_huge_mappings(layer)) {
      bench.skip(one.name + " (" + way.name + ")", "the kernel refuses MADV_HUGEPAGE");
      continue;
    }
    comparison.contenders.push_back(
        {way.name,
         [&]() -> Status {
           BareTask task;
           task.memory_bytes = layer.bytes().size();
           task.cpu = placement.guest;
           LAMINA_ASSIGN_OR_RETURN(guest, BareGuest::start(task));
           if (one.cold) {
             LAMINA_ASSIGN_OR_RETURN(const double stays, drop_cache(layer));
             figures.add("per cent of the layer cached before", "all", stays);
           }
           pinned = std::make_unique<Pinned>(placement.server);
           return {};
         },
         [&, way] {
           const double start = thread_cpu_ms();
           const double had = disk_mebibytes();
           Status done = populate_guest(*guest, layer, way, one.portions, buffers, kept_bytes,
                                        placement.guest);
           figures.add("server's CPU time, ms", way.name, thread_cpu_ms() - start);
           figures.add("MiB from the disk", way.name, disk_mebibytes() - had);
           return done;
         },
         [&] { return layer.compare_guest(*guest, blocks); },
         [&]() -> Status {
           guest.reset();
           pinned.reset();
           return {};
         }});
  }
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  note_ratios(bench);
  figures.note(bench, "server's CPU time, ms");
  if (one.cold) figures.note(bench, "MiB from the disk");
  figures.note(bench, "per cent of the layer cached before");
  return {};
}

std::vector<PopulateWay> cached_ways() {
  return {{"ours", Source::kHelper},
          {"helper alone", Source::kHelperAlone},
          {"read", Source::kRead},
          {"mapping", Source::kMapping},
          {"populate read", Source::kPopulateRead},
          {"huge mapping", Source::kHugeMapping},
          {"kept mapping", Source::kKeptMapping},
          {"unchecked", Source::kUnchecked}};
}

/// `ours`: how ours announces; `other`: another way, for all the rest.
std::vector<PopulateWay> cold_ways(Announcing ours, Announcing other) {
  const std::string not_ours = other == Announcing::kNone ? "not announced" : "window";
  return {{"ours", Source::kHelper, ours},
          {"ours, " + not_ours, Source::kHelper, other},
          {"helper alone", Source::kHelperAlone, ours},
          {"read", Source::kRead},
          {"read, window", Source::kRead, Announcing::kWindow},
          {"mapping", Source::kMapping},
          {"mapping, window", Source::kMapping, Announcing::kWindow},
          {"populate read", Source::kPopulateRead},
          {"populate read, window", Source::kPopulateRead, Announcing::kWindow},
          {"huge mapping", Source::kHugeMapping}};
}

}  // namespace

Status run_populate_suspects(Bench& bench, const BareLayer& layer) {
  const auto in_order = portions_in_order(layer.block_count());
  const auto recorded = recorded_portions(layer.block_count());
  const std::string name = "suspect-populate-read";
  auto cold_runs = cold_ways(Announcing::kAll, Announcing::kNone);
  cold_runs.insert(cold_runs.begin() + 1, {"ours, window", Source::kHelper, Announcing::kWindow});
  for (const PopulateCase& one :
       {PopulateCase{name + "/cached", false, in_order, cached_ways()},
        PopulateCase{name + "/cached-runs", false, recorded, cached_ways()},
        PopulateCase{name + "/cold", true, in_order,
                     cold_ways(Announcing::kNone, Announcing::kWindow)},
        PopulateCase{name + "/cold-runs", true, recorded, cold_runs}}) {
    LAMINA_RETURN_IF_ERROR(measure(bench, layer, one));
  }
  return {};
}

}  // namespace lamina::bench
