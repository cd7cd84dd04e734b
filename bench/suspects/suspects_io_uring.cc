// Scattered reads of layers, one after another (ours), announced to the kernel before, or with many
// in flight by io_uring; and a merge-like copy of them.
#include "io_uring.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "bench.h"
#include "scattered_reads.h"
#include "storage_suspects.h"
#include "suspect_files.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kLayers = 8;

enum class Cache : std::uint8_t { kWarm, kCold };

Status make_ready(ScatteredReads& reads, const LayerFiles& layers, Cache cache) {
  reads.clear();
  return cache == Cache::kCold ? layers.make_cold() : Status{};
}

struct Names {
  Cache cache;
  std::string read;
  std::string copy;
};

Status compare(Bench& bench, const Names& names, const LayerFiles& layers, ScatteredReads& reads) {
  const Cache cache = names.cache;
  Comparison comparison;
  comparison.bytes = ScatteredReads::kTotalBytes;
  if (bench.wants(names.read)) {
    const auto contender = [&](const char* name, Status (ScatteredReads::*way)()) {
      return Contender{name,
                       [&, cache] { return make_ready(reads, layers, cache); },
                       [&reads, way] { return (reads.*way)(); },
                       [&reads] { return reads.check(); },
                       {}};
    };
    comparison.name = names.read;
    comparison.what =
        "64 MiB read in pieces of 64 KiB at random of 8 layers: one by one, all or 32 announced "
        "before, or 32 in flight";
    comparison.contenders = {contender("ours", &ScatteredReads::read_each),
                             contender("willneed", &ScatteredReads::read_announced),
                             contender("willneed-32", &ScatteredReads::read_announced_ahead),
                             contender("io-uring", &ScatteredReads::read_in_flight)};
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  }
  if (bench.wants(names.copy)) {
    const auto contender = [&](const char* name, Status (ScatteredReads::*way)()) {
      return Contender{name, [&, cache] { return make_ready(reads, layers, cache); },
                       [&reads, way] { return (reads.*way)(); },
                       [&reads] { return reads.check_target(); },
                       [&reads] { return reads.remove_target(); }};
    };
    comparison.name = names.copy;
    comparison.what =
        "the same pieces copied into a file, fsync included: a loop, 32 announced ahead, or 8 "
        "in flight";
    comparison.contenders = {contender("ours", &ScatteredReads::copy_each),
                             contender("willneed-32", &ScatteredReads::copy_announced_ahead),
                             contender("io-uring", &ScatteredReads::copy_in_flight)};
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  }
  return {};
}

}  // namespace

Status run_io_uring_suspects(Bench& bench) {
  const std::vector<Names> all = {
      {Cache::kCold, "suspect-io-uring/read-cold", "suspect-io-uring/copy-cold"},
      {Cache::kWarm, "suspect-io-uring/read-cached", "suspect-io-uring/copy-cached"}};
  if (std::ranges::none_of(all, [&](const Names& names) {
        return bench.wants(names.read) || bench.wants(names.copy);
      })) {
    return {};
  }
  if (const auto ring = IoUring::create(ScatteredReads::kReadsInFlight); !ring) {
    bench.skip("suspect-io-uring", ring.error().message);
    return {};
  }
  const std::string directory = bench.directory() + "/suspect-io-uring";
  std::filesystem::create_directory(directory);
  {
    LAMINA_ASSIGN_OR_RETURN(
        const LayerFiles layers,
        LayerFiles::create(directory, kLayers, bench.memory_blocks() / kLayers));
    ScatteredReads reads(layers, directory + "/copy");
    for (const Names& names : all) LAMINA_RETURN_IF_ERROR(compare(bench, names, layers, reads));
  }
  return remove_all(directory);
}

}  // namespace lamina::bench
