#include "snapshot_chain.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "base/error.h"
#include "lamina/ingest.h"
#include "plain_reference.h"
#include "store/store.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 20240817;

Status ingest_pause(const std::string& memory_file, const std::string& snapshot,
                    const std::string& parent) {
  IngestOptions options;
  options.memory_file = memory_file;
  options.snapshot = snapshot;
  if (!parent.empty()) options.parent = parent;
  options.layout = Layout::kAdopted;
  options.zeros = Zeros::kWritten;
  LAMINA_RETURN_IF_ERROR(ingest(options));
  return {};
}

}  // namespace

Status make_store(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return fail(ErrorKind::kFailed, "make '{}': {}", path, error.message());
  std::vector<std::string> notes;
  LAMINA_RETURN_IF_ERROR(store::Store::open(path, notes));
  return {};
}

Result<SnapshotChain> build_chain(const std::string& directory, std::uint32_t blocks,
                                  std::uint32_t diffs) {
  const GuestMemory base = GuestMemory::half_used(blocks, kSeed);
  SnapshotChain chain{directory, directory + "/store", "", base, {}, {}, base};
  LAMINA_RETURN_IF_ERROR(make_store(chain.store));
  const std::string memory_file = directory + "/memory";
  for (std::uint32_t pause = 0; pause <= diffs; ++pause) {
    const Uuid build = Uuid::random();
    const PlainPaths plain{fmt::format("{}/plain-{}", directory, pause),
                           fmt::format("{}/plain-{}.header", directory, pause)};
    chain.plain_files[build.to_string()] = plain.data;
    if (pause == 0) {
      LAMINA_RETURN_IF_ERROR(base.write_full_file(memory_file));
      LAMINA_ASSIGN_OR_RETURN(chain.plain_header, plain_ingest_full(memory_file, plain, build));
    } else {
      const auto diff = chain.memory.draw_diff(kDirtyFraction, pause + 1, kSeed + pause);
      LAMINA_RETURN_IF_ERROR(write_diff_file(memory_file, blocks, diff));
      chain.memory.apply(diff, WrittenZeros::kClear);
      chain.plain_memory.apply(diff, WrittenZeros::kInherit);
      LAMINA_ASSIGN_OR_RETURN(chain.plain_header,
                              plain_ingest_diff(memory_file, plain, chain.plain_header, build));
    }
    const std::string parent =
        std::exchange(chain.youngest, fmt::format("{}/pause-{}", chain.store, pause));
    LAMINA_RETURN_IF_ERROR(ingest_pause(memory_file, chain.youngest, parent));
  }
  return chain;
}

}  // namespace lamina::bench
