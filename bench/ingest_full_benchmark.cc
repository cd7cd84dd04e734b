// Ingest of a full, dense memory file that is in the page cache, by adoption.
//
// Adoption moves no data, so what remains is one pass over the memory: read, zero test, checksum.
// The floor is that read alone. The syncs are a constant that the floor does not have; they are
// timed apart, as "syncs".
#include <fmt/format.h>

#include <filesystem>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "floor_loops.h"
#include "lamina/ingest.h"
#include "plain_reference.h"
#include "snapshot_chain.h"
#include "snapshot_check.h"
#include "store/snapshot_directory.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kIngestFullSeed = 1;

/// Takes the adopted file out of the store again: cut to what it was, it is the same input, and
/// still cached.
Status take_back(const std::string& snapshot, const std::string& memory_file, std::uint64_t bytes) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(snapshot, error)) {
    if (!store::parse_layer_file_name(entry.path().filename().string())) continue;
    std::filesystem::resize_file(entry.path(), bytes, error);
    std::filesystem::rename(entry.path(), memory_file, error);
    break;
  }
  if (error) return fail(ErrorKind::kFailed, "take back '{}': {}", snapshot, error.message());
  return remove_all(snapshot);
}

}  // namespace

Status run_ingest_full(Bench& bench) {
  const std::string name = "ingest/full/adopted";
  if (!bench.wants(name)) return {};
  const std::string directory = bench.directory() + "/ingest-full";
  const std::string store = directory + "/store";
  const std::string memory_file = directory + "/memory";
  const std::string snapshot = store + "/snapshot";
  const std::string sync_store = directory + "/syncs";
  const PlainPaths plain{directory + "/plain", directory + "/plain.header"};
  const GuestMemory memory = GuestMemory::dense(bench.memory_blocks(), kIngestFullSeed);
  LAMINA_RETURN_IF_ERROR(make_store(store));
  LAMINA_RETURN_IF_ERROR(memory.write_full_file(memory_file));

  IngestOptions options;
  options.memory_file = memory_file;
  options.snapshot = snapshot;
  options.layout = Layout::kAdopted;
  const Uuid build = Uuid::random();
  PlainHeader plain_header;
  SyncPattern syncs;
  syncs.adopts = true;
  syncs.memory_bytes = bench.memory_bytes();
  syncs.sizes = {memory.data_blocks() * 8, std::uint64_t{16} << 10};

  Comparison comparison;
  comparison.name = name;
  comparison.what = "a full, dense memory file in the page cache becomes a snapshot, synced";
  comparison.floor_is = "one read of the file by 256 KiB, no syncs";
  comparison.budget = {.ours_over_floor = 1.7, .plain_over_ours = 4.0, .ours_ms = {}};
  comparison.bytes = bench.memory_bytes();
  comparison.ballast_bytes = bench.memory_bytes() + bench.memory_bytes() / 4;
  comparison.contenders = {
      {"plain",
       {},
       [&]() -> Status {
         LAMINA_ASSIGN_OR_RETURN(plain_header, plain_ingest_full(memory_file, plain, build));
         return {};
       },
       [&] { return check_plain(plain_header, {{build.to_string(), plain.data}}, memory); },
       [&] { return remove_all(plain.data); }},
      {"ours",
       {},
       [&]() -> Status {
         LAMINA_RETURN_IF_ERROR(ingest(options));
         return {};
       },
       [&] { return check_snapshot(snapshot, memory); },
       [&] { return take_back(snapshot, memory_file, bench.memory_bytes()); }},
      {"floor", {}, [&] { return read_whole_file(memory_file); }, {}, {}},
      {"syncs",
       [&]() -> Status {
         LAMINA_RETURN_IF_ERROR(make_sync_store(sync_store));
         return write_diff_file(sync_store + "/memory", 1, {{0, 1, 1}});
       },
       [&] { return do_ingest_syncs(sync_store, sync_store + "/memory", syncs); },
       {},
       [&] { return remove_all(sync_store); }},
  };
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note("ours includes 9 syncs; \"syncs\" is those alone; the original syncs nothing");
  return remove_all(directory);
}

}  // namespace lamina::bench
