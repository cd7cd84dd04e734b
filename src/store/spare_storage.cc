#include "store/spare_storage.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"

namespace lamina::store {
namespace {

/// Shorter runs are kept: a call costs tens of microseconds at best, and fragments the file.
constexpr std::uint32_t kMinBlocks = 16;
/// Less than this is not reported.
constexpr std::uint64_t kNotableBytes = std::uint64_t{64} << 20;

}  // namespace

SpareStorage::SpareStorage(os::Fd layer, std::vector<BlockRun> runs)
    : layer_(std::move(layer)), runs_(std::move(runs)) {
  std::erase_if(runs_, [](const BlockRun& run) { return run.count < kMinBlocks; });
  std::sort(runs_.begin(), runs_.end(),
            [](const BlockRun& a, const BlockRun& b) { return a.count > b.count; });
}

void SpareStorage::release(const std::string& path, std::vector<std::string>& notes,
                           std::chrono::milliseconds limit) {
  const os::Fd layer = std::move(layer_);
  const std::vector<BlockRun> runs = std::exchange(runs_, {});
  const auto end = std::chrono::steady_clock::now() + limit;
  for (auto run = runs.begin(); run != runs.end(); ++run) {
    const auto punched =
        os::punch_hole(layer.get(), run->first * kBlockBytes, run->count * kBlockBytes, path);
    if (!punched) {
      notes.push_back(fmt::format("blocks that are not needed keep their storage: {}",
                                  one_line(punched.error())));
    }
    if (!punched || !*punched) return;
    if (std::chrono::steady_clock::now() < end) continue;
    const std::uint64_t kept =
        kBlockBytes *
        std::accumulate(run + 1, runs.end(), std::uint64_t{0},
                        [](std::uint64_t sum, const BlockRun& left) { return sum + left.count; });
    if (kept >= kNotableBytes) {
      notes.push_back(fmt::format(
          "{} bytes of '{}' are not needed and keep their storage, because this file system frees "
          "it slowly; a full merge frees it",
          kept, path));
    }
    return;
  }
}

}  // namespace lamina::store
