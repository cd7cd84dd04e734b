// What an ingest or a merge of a VM that nobody runs leaves in the page cache, where what it leaves
// pushes out what running VMs use.
//
// All files are dropped from the cache before. Counted by mincore(2), whole directories: the files
// that were read and those that were written. "hot" is a file beside them that was read before and
// is not touched meanwhile: how much of it is gone. Without a limit on memory the kernel has no
// reason to drop it, so a figure above 0 there means that somebody dropped what was not theirs.
#include <fmt/format.h>

#include <filesystem>
#include <functional>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "file_cache.h"
#include "floor_loops.h"
#include "lamina/ingest.h"
#include "lamina/merge.h"
#include "plain_reference.h"
#include "snapshot_chain.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kPageCacheDiffs = 7;

struct Files {
  std::string cold;  ///< directory: what is worked on and what comes of it
  std::string hot;   ///< directory with a file that somebody else uses
};

/// Runs `work` once, with nothing of `files.cold` cached and all of `files.hot`.
Status measure(Bench& bench, const std::string& name, const Files& files,
               const std::function<Status()>& work) {
  if (!bench.wants(name)) return {};
  fmt::print(stderr, "{} …\n", name);
  LAMINA_RETURN_IF_ERROR(drop_cache(files.cold));
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t cold_before, cached_bytes(files.cold));
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t hot_before, cached_bytes(files.hot));
  LAMINA_RETURN_IF_ERROR(work());
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t cold_after, cached_bytes(files.cold));
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t hot_after, cached_bytes(files.hot));
  bench.add({name, cold_after > cold_before ? cold_after - cold_before : 0, bench.memory_blocks(),
             std::nullopt, "page cache left", "blocks of memory"});
  bench.add({name + "/hot", hot_before > hot_after ? hot_before - hot_after : 0,
             hot_before / kBlockBytes, 0, "page cache lost", "hot blocks"});
  return {};
}

Status ingest_file(const std::string& file, const std::string& snapshot, Layout layout) {
  IngestOptions options;
  options.memory_file = file;
  options.snapshot = snapshot;
  options.layout = layout;
  LAMINA_RETURN_IF_ERROR(ingest(options));
  return {};
}

Status run_ingests(Bench& bench, const Files& files, const SnapshotChain& chain) {
  const std::string file = files.cold + "/full";
  const PlainPaths plain{files.cold + "/plain", files.cold + "/plain.header"};
  LAMINA_RETURN_IF_ERROR(chain.memory.write_full_file(file));
  LAMINA_RETURN_IF_ERROR(measure(bench, "page-cache/ingest/plain", files, [&]() -> Status {
    LAMINA_RETURN_IF_ERROR(plain_ingest_full(file, plain, Uuid::random()));
    return {};
  }));
  LAMINA_RETURN_IF_ERROR(remove_all(plain.data));
  LAMINA_RETURN_IF_ERROR(measure(bench, "page-cache/ingest/compact", files, [&] {
    return ingest_file(file, chain.store + "/compact", Layout::kCompact);
  }));
  LAMINA_RETURN_IF_ERROR(remove_all(chain.store + "/compact"));
  LAMINA_RETURN_IF_ERROR(measure(bench, "page-cache/ingest/adopted", files, [&] {
    return ingest_file(file, chain.store + "/adopted", Layout::kAdopted);
  }));
  LAMINA_RETURN_IF_ERROR(remove_all(file));
  return remove_all(chain.store + "/adopted");
}

Status run_merges(Bench& bench, const Files& files, const SnapshotChain& chain) {
  const PlainPaths plain{files.cold + "/plain-merged", files.cold + "/plain-merged.header"};
  LAMINA_RETURN_IF_ERROR(measure(bench, "page-cache/merge/plain", files, [&]() -> Status {
    LAMINA_RETURN_IF_ERROR(plain_merge(chain.plain_header, chain.plain_files, plain));
    return {};
  }));
  LAMINA_RETURN_IF_ERROR(remove_all(plain.data));
  return measure(bench, "page-cache/merge/ours", files, [&]() -> Status {
    MergeOptions options;
    options.snapshot = chain.youngest;
    options.out = chain.store + "/merged";
    LAMINA_RETURN_IF_ERROR(merge(options));
    return {};
  });
}

}  // namespace

Status run_page_cache(Bench& bench) {
  const bool wanted = bench.wants("page-cache/ingest/plain") ||
                      bench.wants("page-cache/ingest/compact") ||
                      bench.wants("page-cache/ingest/adopted") ||
                      bench.wants("page-cache/merge/plain") || bench.wants("page-cache/merge/ours");
  if (!wanted) return {};
  constexpr std::uint32_t kHotBlocks = 16384;
  const Files files{bench.directory() + "/cold", bench.directory() + "/hot"};
  LAMINA_ASSIGN_OR_RETURN(const SnapshotChain chain,
                          build_chain(files.cold, bench.memory_blocks(), kPageCacheDiffs));
  std::filesystem::create_directory(files.hot);
  LAMINA_RETURN_IF_ERROR(GuestMemory::dense(kHotBlocks, 1).write_full_file(files.hot + "/memory"));
  LAMINA_RETURN_IF_ERROR(read_whole_file(files.hot + "/memory"));
  LAMINA_RETURN_IF_ERROR(run_ingests(bench, files, chain));
  LAMINA_RETURN_IF_ERROR(run_merges(bench, files, chain));
  LAMINA_RETURN_IF_ERROR(remove_all(files.hot));
  return remove_all(files.cold);
}

}  // namespace lamina::bench
