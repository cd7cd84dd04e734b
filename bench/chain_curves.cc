// What a sandbox's age costs: the same small diff, and the opening of a snapshot, against the
// number of layers that nobody has merged.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "floor_loops.h"
#include "ingest_contenders.h"
#include "os/file.h"
#include "store/snapshot_directory.h"
#include "striped_memory.h"

namespace lamina::bench {
namespace {

using Plain = ChainBuilder::Plain;

constexpr std::uint32_t kChainCurveBlocks = 8192;  // 32 MiB
constexpr std::uint32_t kChainCurveVersion = 1 << 20;
constexpr std::uint32_t kChainCurveDirtyRuns = 64;

std::vector<std::string> layer_files(const std::string& snapshot) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(snapshot)) {
    if (store::parse_layer_file_name(entry.path().filename().string())) {
      files.push_back(entry.path().string());
    }
  }
  return files;
}

/// A name for each of the files in a new directory, and the directory synced.
Status link_all(const std::vector<std::string>& files, const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directory(directory, error);
  for (const std::string& file : files) {
    const std::string name = directory + file.substr(file.rfind('/'));
    if (::link(file.c_str(), name.c_str()) != 0) return system_failure("link", name, errno);
  }
  return sync_with_parent(directory);
}

/// Each file opened and its last block read: where a layer's trailer is.
Status open_all(const std::vector<std::string>& files) {
  std::vector<std::byte> buffer(kBlockBytes);
  for (const std::string& path : files) {
    LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                            os::open_regular(AT_FDCWD, path, O_RDONLY, path));
    const std::uint64_t bytes = file.facts.size_bytes;
    LAMINA_RETURN_IF_ERROR(os::read_exactly_at(file.fd.get(), buffer, bytes - buffer.size(), path));
  }
  return {};
}

Status add_ingest(Bench& bench, Curve& curve, double layers, const SnapshotChain& chain) {
  constexpr auto kCached = DiffContenders::Cached::kDataOnly;
  const std::vector<std::string> files = layer_files(chain.youngest);
  const std::string linked = chain.directory + "/linked";
  DiffContenders contenders(
      chain.directory, chain,
      spread_runs(kChainCurveBlocks, kChainCurveDirtyRuns, 1, kChainCurveVersion));
  Comparison comparison;
  comparison.ballast_bytes = kChainCurveBlocks * kBlockBytes;
  comparison.contenders = {
      contenders.plain(kCached),
      contenders.ours(Layout::kAdopted, kCached),
      contenders.floor(Layout::kAdopted, kCached),
      {"links",
       {},
       [&] { return link_all(files, linked); },
       {},
       [&] { return remove_all(linked); }},
  };
  return curve.add_point(bench, layers, std::move(comparison));
}

Status add_opening(Bench& bench, Curve& curve, double layers, const SnapshotChain& chain) {
  const std::vector<std::string> files = layer_files(chain.youngest);
  Comparison comparison;
  comparison.contenders = {
      {"ours",
       {},
       [&]() -> Status {
         LAMINA_RETURN_IF_ERROR(store::open_snapshot(chain.youngest, engine::Checksums::kSkip));
         return {};
       },
       {},
       {}},
      {"floor", {}, [&] { return open_all(files); }, {}, {}}};
  return curve.add_point(bench, layers, std::move(comparison));
}

}  // namespace

Status run_chain_curves(Bench& bench) {
  Curve ingest{"curve/chain/ingest",
               "a diff with 64 dirty blocks over a chain that nobody merged",
               "the extents walked, the data read once, ten syncs; links: a hard link per layer",
               "layers",
               {}};
  Curve opening{"curve/chain/open",
                "a snapshot opened, every layer's trailer checked",
                "every layer's file opened and its last block read",
                "layers",
                {}};
  if (!bench.wants(ingest.name) && !bench.wants(opening.name)) return {};
  std::vector<std::uint32_t> lengths = {1, 8, 64, 256, 1024, 2048};
  if (bench.options().quick) lengths.resize(4);
  const std::string directory = bench.directory() + "/chain-curve";
  LAMINA_ASSIGN_OR_RETURN(ChainBuilder builder,
                          ChainBuilder::start(directory, full_of_data(kChainCurveBlocks),
                                              ChainBuilder::Base::kSparse, Plain::kYes));
  std::uint32_t layers = 1;
  for (const std::uint32_t length : lengths) {
    for (; layers < length; ++layers) {
      const std::string older = builder.chain().youngest;
      // Other blocks each time, so that every layer stays in use.
      LAMINA_RETURN_IF_ERROR(builder.add({{(layers * 3) % kChainCurveBlocks, 2, layers + 1}}));
      LAMINA_RETURN_IF_ERROR(remove_all(older));
    }
    if (bench.wants(ingest.name)) {
      LAMINA_RETURN_IF_ERROR(add_ingest(bench, ingest, length, builder.chain()));
    }
    if (bench.wants(opening.name)) {
      LAMINA_RETURN_IF_ERROR(add_opening(bench, opening, length, builder.chain()));
    }
  }
  if (!ingest.points.empty()) bench.add(std::move(ingest));
  if (!opening.points.empty()) bench.add(std::move(opening));
  return remove_all(directory);
}

}  // namespace lamina::bench
