#include "lamina/verify.h"

#include <fcntl.h>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "engine/check.h"
#include "os/directory.h"
#include "store/snapshot_directory.h"

namespace lamina {
namespace {

Status check_layers(const store::OpenSnapshot& snapshot, Progress* progress, VerifyReport& report) {
  if (progress != nullptr) {
    std::uint64_t blocks = 0;
    for (const engine::Layer& layer : snapshot.chain.layers()) {
      if (layer.trailer()) blocks += layer.stored_blocks();
    }
    progress->begin("checking", blocks * kBlockBytes);
  }
  for (std::size_t i = 1; i <= snapshot.chain.layers().size(); ++i) {
    const auto index = static_cast<mapping::LayerIndex>(i);
    LAMINA_ASSIGN_OR_RETURN(const engine::LayerCheck check,
                            engine::check_layer(snapshot.chain, index, progress));
    report.checked_blocks += check.checked_blocks;
    report.unchecked_blocks += check.unchecked_blocks;
    report.corrupt_blocks += check.wrong_blocks;
    report.corrupt_live_blocks += check.wrong_live_blocks;
    for (const engine::WrongBlocks& wrong : check.wrong) {
      report.problems.push_back(fmt::format(
          "layer '{}': {} block{} at {:#x} (guest {:#x}, {}): {}",
          snapshot.chain.layer(index).path(), wrong.extent.block_count,
          wrong.extent.block_count == 1 ? "" : "s", wrong.extent.storage_block * kBlockBytes,
          wrong.extent.guest_block * kBlockBytes,
          wrong.live_blocks > 0 ? "in use" : "not in use here", wrong.cause));
    }
  }
  return {};
}

void check_vmstate(const store::OpenSnapshot& snapshot, VerifyReport& report) {
  const Status checked = store::check_vmstate(snapshot);
  if (checked) return;
  report.vmstate_corrupt = true;
  report.problems.push_back(one_line(checked.error()));
}

Status compare(const store::OpenSnapshot& snapshot, const os::OpenedFile& file,
               const VerifyOptions& options, VerifyReport& report) {
  LAMINA_ASSIGN_OR_RETURN(
      const engine::Comparison comparison,
      engine::compare_with_file(snapshot.chain, snapshot.header.memory_bytes, file.fd.get(),
                                *options.against, options.progress));
  report.compared_blocks = comparison.compared_blocks;
  report.different_blocks = comparison.different_blocks;
  std::uint64_t named = 0;
  for (const BlockRun& run : comparison.different) {
    report.problems.push_back(fmt::format("{} block{} at {:#x} differ{} from '{}'", run.count,
                                          run.count == 1 ? "" : "s", run.first * kBlockBytes,
                                          run.count == 1 ? "s" : "", *options.against));
    named += run.count;
  }
  if (named < comparison.different_blocks) {
    report.problems.push_back(
        fmt::format("{} more blocks differ", comparison.different_blocks - named));
  }
  return {};
}

}  // namespace

Result<VerifyReport> verify(const VerifyOptions& options) {
  return contain("verify", [&]() -> Result<VerifyReport> {
    LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot,
                            store::open_snapshot(options.snapshot));
    os::OpenedFile against;
    if (options.against) {
      // Not kFailed, whose exit code means "differs" for lamina verify.
      if (os::open_directory(AT_FDCWD, *options.against, *options.against)) {
        return fail(ErrorKind::kUsage, "'{}' is a directory; name a memory file to compare with",
                    *options.against);
      }
      LAMINA_ASSIGN_OR_RETURN(
          against, os::open_regular(AT_FDCWD, *options.against, O_RDONLY, *options.against));
    }
    VerifyReport report;
    LAMINA_RETURN_IF_ERROR(check_layers(snapshot, options.progress, report));
    check_vmstate(snapshot, report);
    if (options.against) LAMINA_RETURN_IF_ERROR(compare(snapshot, against, options, report));
    return report;
  });
}

}  // namespace lamina
