// How much memory the operations need: the peak growth of the resident set in a process of its own.
// Budget: 64 MiB + 24 bytes per stored block.
#include <fcntl.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <functional>
#include <optional>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/verify.h"
#include "os/fd.h"
#include "snapshot_chain.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kFixedBudget = std::uint64_t{64} << 20;
constexpr std::uint64_t kBudgetPerBlock = 24;
constexpr std::uint32_t kMemoryUseDiffs = 7;
constexpr std::uint64_t kMemoryUseSeed = 4;

/// A field of /proc/self/status, in bytes; 0 when it is not there.
std::uint64_t status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::uint64_t kib = 0;
    if (word == field && status >> kib) return kib * 1024;
  }
  return 0;
}

/// What the child tells through the pipe.
struct Answer {
  bool done = false;
  std::uint64_t growth_bytes = 0;
  std::uint64_t stored_blocks = 0;
};

using Operation = std::function<Result<std::uint64_t>()>;  // gives the blocks it stored

/// The child: runs the operation between two readings. "5" sets the peak back to what is resident.
Answer measure_here(const Operation& operation) {
  // What the parent process freed must not serve the operation: given back, it counts again.
  ::malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
  const std::uint64_t before = status_bytes("VmRSS:");
  const auto stored = operation();
  if (!stored) {
    fmt::print(stderr, "lamina_bench: {}\n", stored.error().message);
    return {};
  }
  const std::uint64_t peak = status_bytes("VmHWM:");
  return {true, peak > before ? peak - before : 0, *stored};
}

Status measure(Bench& bench, const std::string& name, const Operation& operation) {
  if (!bench.wants(name)) return {};
  fmt::print(stderr, "{} …\n", name);
  int pipe_fds[2];  // NOLINT(modernize-avoid-c-arrays): pipe2's signature
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return system_failure("pipe", name, errno);
  const os::Fd reading(pipe_fds[0]);
  os::Fd writing(pipe_fds[1]);
  const pid_t child = ::fork();
  if (child < 0) return system_failure("fork", name, errno);
  if (child == 0) {
    const Answer answer = measure_here(operation);
    const bool sent = ::write(writing.get(), &answer, sizeof(answer)) == sizeof(answer);
    ::_exit(sent ? 0 : 1);
  }
  writing.reset();
  Answer answer;
  const bool received = ::read(reading.get(), &answer, sizeof(answer)) == sizeof(answer);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!received || !answer.done) return fail(ErrorKind::kFailed, "{} failed", name);
  bench.add({name, answer.growth_bytes, answer.stored_blocks,
             kFixedBudget + kBudgetPerBlock * answer.stored_blocks});
  return {};
}

Result<std::uint64_t> ingest_file(const std::string& file, const std::string& snapshot,
                                  const std::optional<std::string>& parent, Layout layout) {
  IngestOptions options;
  options.memory_file = file;
  options.snapshot = snapshot;
  options.parent = parent;
  options.layout = layout;
  LAMINA_ASSIGN_OR_RETURN(const IngestReport report, ingest(options));
  return report.stored_blocks;
}

}  // namespace

Status run_memory_use(Bench& bench) {
  constexpr const char* kNames[] = {
      "memory/ingest/full", "memory/ingest/compact", "memory/ingest/diff", "memory/merge",
      "memory/materialize", "memory/verify",         "memory/fork"};
  if (std::ranges::none_of(kNames, [&](const char* name) { return bench.wants(name); })) return {};
  const std::string directory = bench.directory() + "/memory-use";
  const std::string file = directory + "/next";
  LAMINA_ASSIGN_OR_RETURN(const SnapshotChain chain,
                          build_chain(directory, bench.memory_blocks(), kMemoryUseDiffs));
  LAMINA_RETURN_IF_ERROR(chain.memory.write_full_file(file));
  LAMINA_RETURN_IF_ERROR(measure(bench, "memory/ingest/compact", [&] {
    return ingest_file(file, chain.store + "/compact", std::nullopt, Layout::kCompact);
  }));
  LAMINA_RETURN_IF_ERROR(measure(bench, "memory/ingest/full", [&] {
    return ingest_file(file, chain.store + "/full", std::nullopt, Layout::kAdopted);
  }));
  LAMINA_RETURN_IF_ERROR(remove_all(file));
  LAMINA_RETURN_IF_ERROR(
      write_diff_file(file, chain.memory.block_count(),
                      chain.memory.draw_diff(kDirtyFraction, 99, kMemoryUseSeed)));
  LAMINA_RETURN_IF_ERROR(measure(bench, "memory/ingest/diff", [&] {
    return ingest_file(file, chain.store + "/diff", chain.youngest, Layout::kAdopted);
  }));
  LAMINA_RETURN_IF_ERROR(measure(bench, "memory/merge", [&]() -> Result<std::uint64_t> {
    MergeOptions options;
    options.snapshot = chain.youngest;
    options.out = chain.store + "/merged";
    LAMINA_ASSIGN_OR_RETURN(const MergeReport report, merge(options));
    return report.merged_blocks;
  }));
  LAMINA_RETURN_IF_ERROR(measure(bench, "memory/materialize", [&]() -> Result<std::uint64_t> {
    MaterializeOptions options;
    options.snapshot = chain.youngest;
    options.out = directory + "/out";
    LAMINA_ASSIGN_OR_RETURN(const MaterializeReport report, materialize(options));
    return report.data_bytes / kBlockBytes;
  }));
  LAMINA_RETURN_IF_ERROR(measure(bench, "memory/verify", [&]() -> Result<std::uint64_t> {
    LAMINA_ASSIGN_OR_RETURN(const VerifyReport report,
                            verify({.snapshot = chain.youngest, .against = {}}));
    return report.checked_blocks;
  }));
  LAMINA_RETURN_IF_ERROR(measure(bench, "memory/fork", [&]() -> Result<std::uint64_t> {
    LAMINA_RETURN_IF_ERROR(fork_snapshot({chain.youngest, chain.store + "/fork"}));
    return std::uint64_t{0};
  }));
  return remove_all(directory);
}

}  // namespace lamina::bench
