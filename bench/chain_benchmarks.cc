#include "chain_benchmarks.h"

#include <optional>

#include "base/error.h"
#include "loop_image.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kChainDiffs = 7;

bool wants_any(const Bench& bench, Sharing sharing) {
  for (const char* what : {"merge", "materialize", "verify"}) {
    if (bench.wants(with_sharing(what, sharing))) return true;
  }
  return sharing == Sharing::kNone && bench.wants("merge/copy/unsynced");
}

Status run_on(Bench& bench, const std::string& directory, Sharing sharing) {
  LAMINA_ASSIGN_OR_RETURN(const SnapshotChain chain,
                          build_chain(directory, bench.memory_blocks(), kChainDiffs));
  LAMINA_RETURN_IF_ERROR(run_merge(bench, chain, sharing));
  LAMINA_RETURN_IF_ERROR(run_output(bench, chain, sharing));
  return remove_all(directory);
}

Status run_with_reflink(Bench& bench) {
  // The layers, the plain reference's files and the results, twice over.
  const std::uint64_t image_bytes = 8 * bench.memory_bytes();
  const std::string base = bench.directory() + "/xfs";
  auto image = LoopImage::create(base + ".image", base, image_bytes);
  if (!image) {
    for (const char* what : {"merge", "materialize", "verify"}) {
      bench.skip(with_sharing(what, Sharing::kReflink), image.error().message);
    }
    return {};
  }
  return run_on(bench, image->mount_point() + "/chain", Sharing::kReflink);
}

}  // namespace

std::string with_sharing(const std::string& what, Sharing sharing) {
  return what + (sharing == Sharing::kReflink ? "/reflink" : "/copy");
}

Status run_chain(Bench& bench) {
  if (wants_any(bench, Sharing::kReflink)) LAMINA_RETURN_IF_ERROR(run_with_reflink(bench));
  if (!wants_any(bench, Sharing::kNone)) return {};
  return run_on(bench, bench.directory() + "/chain", Sharing::kNone);
}

}  // namespace lamina::bench
