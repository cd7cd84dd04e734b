#include "snapshot_chain.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "base/error.h"
#include "lamina/ingest.h"
#include "plain_reference.h"
#include "store/open_store.h"
#include "store/store.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSnapshotChainSeed = 20240817;

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
  LAMINA_RETURN_IF_ERROR(store::open_store(path, notes));
  return {};
}

Result<ChainBuilder> ChainBuilder::start(const std::string& directory, GuestMemory memory,
                                         Base base, Plain plain) {
  const std::string memory_file = directory + "/memory";
  ChainBuilder builder({directory, directory + "/store", "", memory, {}, {}, memory}, plain);
  LAMINA_RETURN_IF_ERROR(make_store(builder.chain_.store));
  LAMINA_RETURN_IF_ERROR(base == Base::kAllWritten ? memory.write_full_file(memory_file)
                                                   : memory.write_sparse_file(memory_file));
  LAMINA_RETURN_IF_ERROR(builder.store(memory_file));
  return builder;
}

Status ChainBuilder::add(const std::vector<DirtyRun>& diff) {
  const std::string memory_file = chain_.directory + "/memory";
  LAMINA_RETURN_IF_ERROR(
      write_diff_file(memory_file, chain_.memory.block_count(), diff, chain_.memory.contents()));
  chain_.memory.apply(diff, WrittenZeros::kClear);
  chain_.plain_memory.apply(diff, WrittenZeros::kInherit);
  return store(memory_file);
}

Status ChainBuilder::store(const std::string& memory_file) {
  if (plain_ == Plain::kYes) {
    const Uuid build = Uuid::random();
    const PlainPaths plain{fmt::format("{}/plain-{}", chain_.directory, pauses_),
                           fmt::format("{}/plain-{}.header", chain_.directory, pauses_)};
    chain_.plain_files[build.to_string()] = plain.data;
    LAMINA_ASSIGN_OR_RETURN(
        chain_.plain_header,
        pauses_ == 0 ? plain_ingest_full(memory_file, plain, build)
                     : plain_ingest_diff(memory_file, plain, chain_.plain_header, build));
  }
  const std::string parent =
      std::exchange(chain_.youngest, fmt::format("{}/pause-{}", chain_.store, pauses_));
  ++pauses_;
  return ingest_pause(memory_file, chain_.youngest, parent);
}

Result<SnapshotChain> build_chain(const std::string& directory, std::uint32_t blocks,
                                  std::uint32_t diffs) {
  LAMINA_ASSIGN_OR_RETURN(
      ChainBuilder builder,
      ChainBuilder::start(directory, GuestMemory::half_used(blocks, kSnapshotChainSeed),
                          ChainBuilder::Base::kAllWritten, ChainBuilder::Plain::kYes));
  for (std::uint32_t pause = 1; pause <= diffs; ++pause) {
    LAMINA_RETURN_IF_ERROR(builder.add(
        builder.chain().memory.draw_diff(kDirtyFraction, pause + 1, kSnapshotChainSeed + pause)));
  }
  return builder.take();
}

}  // namespace lamina::bench
