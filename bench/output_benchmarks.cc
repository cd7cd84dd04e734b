// Materialize and verify of a chain of eight layers.
//
// Both check every block, so their floors read every block: verify's reads what the layers store,
// materialize's reads and writes what the snapshot uses (or, with reflink, clones it and reads it),
// and syncs the file and its directory as ours does.
#include <memory>

#include "base/block.h"
#include "base/error.h"
#include "chain_benchmarks.h"
#include "floor_loops.h"
#include "lamina/materialize.h"
#include "lamina/verify.h"
#include "snapshot_check.h"
#include "store/snapshot_directory.h"

namespace lamina::bench {
namespace {

Status materialize_benchmark(Bench& bench, const SnapshotChain& chain, const engine::Chain& layers,
                             Sharing sharing) {
  const std::string name = with_sharing("materialize", sharing);
  if (!bench.wants(name)) return {};
  const std::string out = chain.directory + "/materialized";
  const bool reflink = sharing == Sharing::kReflink;
  const auto clear = [&] { return remove_all(out); };

  Comparison comparison;
  comparison.name = name;
  comparison.what = "the snapshot's memory as one sparse file, every block checked, synced";
  comparison.floor_is = reflink ? "one clone call per run, every run read once, synced"
                                : "every run read and written by 256 KiB at most, synced";
  comparison.bytes = chain.memory.data_blocks() * kBlockBytes;
  comparison.ballast_bytes = bench.memory_bytes() + bench.memory_bytes() / 4;
  comparison.contenders = {
      {"ours",
       {},
       [&]() -> Status {
         MaterializeOptions options;
         options.snapshot = chain.youngest;
         options.out = out;
         LAMINA_RETURN_IF_ERROR(materialize(options));
         return {};
       },
       [&] { return check_memory_file(out, chain.memory); },
       clear},
      {"floor",
       {},
       [&]() -> Status {
         if (reflink) {
           LAMINA_RETURN_IF_ERROR(clone_live_blocks(layers, out));
           LAMINA_RETURN_IF_ERROR(read_live_blocks(layers));
         } else {
           LAMINA_RETURN_IF_ERROR(copy_live_blocks(layers, out));
         }
         return sync_with_parent(out);
       },
       [&] { return check_memory_file(out, chain.memory); },
       clear},
  };
  return bench.run(comparison);
}

Status verify_benchmark(Bench& bench, const SnapshotChain& chain, const engine::Chain& layers,
                        Sharing sharing) {
  const std::string name = with_sharing("verify", sharing);
  if (!bench.wants(name)) return {};
  std::uint64_t stored_blocks = 0;
  for (const engine::Layer& layer : layers.layers()) {
    if (layer.trailer()) stored_blocks += layer.stored_blocks();
  }
  Comparison comparison;
  comparison.name = name;
  comparison.what = "every stored block against its checksum";
  comparison.floor_is = "every stored run read once by 256 KiB at most";
  comparison.bytes = stored_blocks * kBlockBytes;
  comparison.contenders = {
      {"ours",
       {},
       [&]() -> Status {
         VerifyOptions options;
         options.snapshot = chain.youngest;
         LAMINA_ASSIGN_OR_RETURN(const VerifyReport report, verify(options));
         if (report.is_intact() && report.checked_blocks == stored_blocks) return {};
         return fail(ErrorKind::kCorrupt, "'{}' is not intact", chain.youngest);
       },
       {},
       {}},
      {"floor", {}, [&] { return read_stored_blocks(layers); }, {}, {}},
  };
  return bench.run(comparison);
}

}  // namespace

Status run_output(Bench& bench, const SnapshotChain& chain, Sharing sharing) {
  LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot, store::open_snapshot(chain.youngest));
  LAMINA_RETURN_IF_ERROR(materialize_benchmark(bench, chain, snapshot.chain, sharing));
  return verify_benchmark(bench, chain, snapshot.chain, sharing);
}

}  // namespace lamina::bench
