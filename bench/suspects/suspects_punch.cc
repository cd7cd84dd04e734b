// Zeros in an adopted full file: their storage given back by PUNCH_HOLE, or left. The engine does
// the first from 16 blocks on ("ours" is whichever it does for a run of this length). Timed with
// the fsync that the ingest does in either case.
#include <fcntl.h>
#include <fmt/format.h>

#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "guest_memory.h"
#include "os/file.h"
#include "snapshot_check.h"
#include "storage_suspects.h"
#include "striped_memory.h"
#include "suspect_files.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kEnginePunchesFrom = 16;

enum class Zeros : std::uint8_t { kPunched, kLeft };

class PunchContenders {
 public:
  PunchContenders(std::string path, std::uint32_t blocks, std::uint32_t run_blocks)
      : path_(std::move(path)),
        memory_(full_of_data(blocks)),
        zeros_(spread_runs(blocks, blocks / run_blocks / 2, run_blocks, 0)) {
    memory_.apply(zeros_, WrittenZeros::kClear);
  }

  [[nodiscard]] std::size_t run_count() const { return zeros_.size(); }
  [[nodiscard]] const std::string& before() const { return before_; }
  [[nodiscard]] const std::string& after() const { return after_; }

  Contender make(const std::string& name, Zeros zeros) {
    return {name, [this] { return memory_.write_full_file(path_); },
            [this, zeros]() -> Status {
              LAMINA_ASSIGN_OR_RETURN(const os::Fd file, open_file(path_, O_RDWR));
              if (zeros == Zeros::kPunched) LAMINA_RETURN_IF_ERROR(punch(file.get()));
              return os::sync(file.get(), path_);
            },
            [this, zeros]() -> Status {
              LAMINA_ASSIGN_OR_RETURN((zeros == Zeros::kPunched ? after_ : before_),
                                      describe_storage(path_));
              return check_memory_file(path_, memory_);
            },
            [this] { return remove_all(path_); }};
  }

 private:
  [[nodiscard]] Status punch(int fd) const {
    for (const DirtyRun& run : zeros_) {
      LAMINA_ASSIGN_OR_RETURN(
          const bool punched,
          os::punch_hole(fd, run.block * kBlockBytes, run.block_count * kBlockBytes, path_));
      if (!punched) return fail(ErrorKind::kFailed, "no holes can be punched here");
    }
    return {};
  }

  std::string path_;
  GuestMemory memory_;
  std::vector<DirtyRun> zeros_;
  std::string before_;
  std::string after_;
};

Status compare_runs(Bench& bench, const std::string& name, const Place& place,
                    std::uint32_t run_blocks) {
  PunchContenders contenders(place.directory + "/memory",
                             bench.memory_blocks() / (bench.options().quick ? 16 : 4), run_blocks);
  const bool punches = run_blocks >= kEnginePunchesFrom;
  Comparison comparison;
  comparison.name = name;
  comparison.what = fmt::format("{} runs of {} blocks of zeros: punched or left, then fsync",
                                contenders.run_count(), run_blocks);
  comparison.contenders = {
      contenders.make("ours", punches ? Zeros::kPunched : Zeros::kLeft),
      contenders.make(punches ? "leave" : "punch", punches ? Zeros::kLeft : Zeros::kPunched)};
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note(fmt::format("left: {}; punched: {}", contenders.before(), contenders.after()));
  return {};
}

}  // namespace

Status run_punch_suspects(Bench& bench) {
  constexpr std::uint64_t kRoomBytes = std::uint64_t{512} << 20;
  for (const std::uint32_t run_blocks : {1U, 8U, 64U}) {
    const std::string name = fmt::format("suspect-punch/runs-of-{}", run_blocks);
    LAMINA_RETURN_IF_ERROR(
        with_each_place(bench, name, bench.memory_bytes() + kRoomBytes, [&](const Place& place) {
          return compare_runs(bench, fmt::format("{}/{}", name, place.name), place, run_blocks);
        }));
  }
  return {};
}

}  // namespace lamina::bench
