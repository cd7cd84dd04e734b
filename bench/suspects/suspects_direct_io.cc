// Copying the data of a cold sparse file into a new file, as a compact ingest or a merge does, and
// what that leaves in the page cache, where it pushes out what others use. All end with an fsync.
#include <fcntl.h>
#include <fmt/format.h>

#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "cold_copy.h"
#include "file_cache.h"
#include "guest_memory.h"
#include "os/file.h"
#include "storage_suspects.h"
#include "striped_memory.h"
#include "suspect_files.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSourceBytes = std::uint64_t{256} << 20;
constexpr std::uint32_t kSourceBlocks = kSourceBytes / kBlockBytes;
constexpr std::uint32_t kRunBlocks = 16;

class DirectIoContenders {
 public:
  explicit DirectIoContenders(const Place& place)
      : place_(place),
        source_(place.directory + "/source"),
        target_(place.directory + "/target"),
        runs_(spread_runs(kSourceBlocks, kSourceBlocks / kRunBlocks / 2, kRunBlocks, 1)),
        expected_(full_of_data(kSourceBlocks)) {}

  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

  Status make_source() { return write_diff_file(source_, kSourceBlocks, runs_); }

  /// Whether this file system takes the flags of `way`.
  [[nodiscard]] Status probe(const CopyWay& way) const {
    const Status ran = copy_data(source_, kSourceBytes, target_, way);
    LAMINA_RETURN_IF_ERROR(remove_all(target_));
    return ran;
  }

  Contender make(const CopyWay& way) {
    return {way.name,
            [this]() -> Status {
              LAMINA_RETURN_IF_ERROR(settle(place_.directory));
              return make_cold(source_);
            },
            [this, way] { return copy_data(source_, kSourceBytes, target_, way); },
            [this, way] { return check(way); }, [this] { return remove_all(target_); }};
  }

 private:
  Status check(const CopyWay& way) {
    constexpr std::uint64_t kMebi = std::uint64_t{1} << 20;
    LAMINA_ASSIGN_OR_RETURN(const os::Fd source, open_file(source_, O_RDONLY));
    LAMINA_ASSIGN_OR_RETURN(const os::Fd target, open_file(target_, O_RDONLY));
    const std::uint64_t target_bytes = runs_.size() * kRunBlocks * kBlockBytes;
    LAMINA_ASSIGN_OR_RETURN(const std::uint64_t source_cached,
                            cached_bytes_of(source.get(), kSourceBytes));
    LAMINA_ASSIGN_OR_RETURN(const std::uint64_t target_cached,
                            cached_bytes_of(target.get(), target_bytes));
    notes_.push_back(fmt::format("{} leaves in the page cache: source {} MiB, target {} MiB",
                                 way.name, source_cached / kMebi, target_cached / kMebi));
    std::vector<std::byte> block(kBlockBytes);
    std::uint64_t offset = 0;
    for (const DirtyRun& run : runs_) {
      for (std::uint32_t i = 0; i < run.block_count; ++i, offset += kBlockBytes) {
        LAMINA_RETURN_IF_ERROR(os::read_exactly_at(target.get(), block, offset, target_));
        if (!expected_.matches(run.block + i, block)) {
          return fail(ErrorKind::kCorrupt, "block {} is wrong", run.block + i);
        }
      }
    }
    return {};
  }

  const Place& place_;
  std::string source_;
  std::string target_;
  std::vector<DirtyRun> runs_;
  GuestMemory expected_;
  std::vector<std::string> notes_;
};

Status compare(Bench& bench, const std::string& name, const Place& place) {
  const std::vector<CopyWay> ways = {{.name = "ours"},
                                     {.name = "random", .advises_random = true},
                                     {.name = "willneed", .announces = true},
                                     {.name = "dontneed", .drops_behind = true},
                                     {.name = "rwf-dontcache", .transfer_flags = kDontCache},
                                     {.name = "o-direct", .open_flags = O_DIRECT}};
  DirectIoContenders contenders(place);
  LAMINA_RETURN_IF_ERROR(contenders.make_source());
  Comparison comparison;
  comparison.name = name;
  comparison.what = "128 MiB in runs of 16 blocks from a cold sparse file of 256 into a new file";
  comparison.bytes = kSourceBytes / 2;
  for (const CopyWay& way : ways) {
    const bool may_be_refused = way.open_flags != 0 || way.transfer_flags != 0;
    if (const Status works = may_be_refused ? contenders.probe(way) : Status{}; !works) {
      bench.skip(fmt::format("{} ({})", name, way.name), works.error().message);
      continue;
    }
    comparison.contenders.push_back(contenders.make(way));
  }
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  for (const std::string& note : contenders.notes()) bench.note(note);
  return remove_all(place.directory + "/source");
}

}  // namespace

Status run_direct_io_suspects(Bench& bench) {
  constexpr std::uint64_t kImageBytes = std::uint64_t{1} << 30;
  const std::string name = "suspect-direct-io";
  const auto compare_at = [&](const Place& place) {
    return compare(bench, fmt::format("{}/{}", name, place.name), place);
  };
  if (bench.wants(name + "/here")) LAMINA_RETURN_IF_ERROR(with_own_directory(bench, compare_at));
  if (!bench.wants(name + "/ext4")) return {};
  return with_loop_image(bench, name + "/ext4", FileSystem::kExt4, kImageBytes, compare_at);
}

}  // namespace lamina::bench
