// Where a diff has data: SEEK_DATA and SEEK_HOLE, two calls a run (ours), or FIEMAP, a call for 512
// runs.
//
// FIEMAP tells how a file lies on the disk, not what is in it. Data that was written and has no
// place yet (delayed allocation) is an extent that only some file systems report, unless
// FIEMAP_FLAG_SYNC writes the whole file out first. Storage that was set aside by fallocate is an
// "unwritten" extent, and stays one while data that was written to it is in the page cache only: so
// an unwritten extent is neither a hole nor data, and only SEEK_DATA, which looks into the page
// cache, knows. tmpfs has no FIEMAP. The note of each comparison shows it by a small file.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <functional>
#include <span>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "guest_memory.h"
#include "os/file.h"
#include "os/sparse_file.h"
#include "storage_suspects.h"
#include "striped_memory.h"
#include "suspect_files.h"

namespace lamina::bench {
namespace {

constexpr std::size_t kBatchExtents = 512;

using Extents = std::vector<os::DataExtent>;

enum class Flush : std::uint8_t { kNo, kYes };

/// Extents that meet are one run, however they lie.
void append(Extents& runs, std::uint64_t offset, std::uint64_t length) {
  if (!runs.empty() && runs.back().offset + runs.back().length == offset) {
    runs.back().length += length;
  } else {
    runs.push_back({offset, length});
  }
}

/// Unwritten extents are taken for holes: right for a file that is all written out.
Result<Extents> map_extents(int fd, std::uint64_t bytes, Flush flush) {
  std::vector<std::uint64_t> room((sizeof(fiemap) + kBatchExtents * sizeof(fiemap_extent)) /
                                  sizeof(std::uint64_t));
  auto* const map = reinterpret_cast<fiemap*>(room.data());  // NOLINT: the kernel's form
  Extents runs;
  for (std::uint64_t position = 0; position < bytes;) {
    map->fm_start = position;
    map->fm_length = bytes - position;
    map->fm_flags = flush == Flush::kYes && position == 0 ? FIEMAP_FLAG_SYNC : 0;
    map->fm_extent_count = kBatchExtents;
    if (::ioctl(fd, FS_IOC_FIEMAP, map) != 0) {
      return system_failure("FIEMAP", "a diff", errno);
    }
    const std::uint32_t count = map->fm_mapped_extents;
    if (count == 0) break;
    for (const fiemap_extent& extent : std::span(&map->fm_extents[0], count)) {
      if ((extent.fe_flags & FIEMAP_EXTENT_UNWRITTEN) == 0) {
        append(runs, extent.fe_logical, extent.fe_length);
      }
    }
    const fiemap_extent& last = map->fm_extents[count - 1];
    if ((last.fe_flags & FIEMAP_EXTENT_LAST) != 0) break;
    position = last.fe_logical + last.fe_length;
  }
  return runs;
}

/// What each way sees of two blocks that were written and not synced, in a hole and in storage that
/// was set aside.
Result<std::string> show_unsynced(const std::string& directory) {
  constexpr std::uint64_t kBytes = 64 * kBlockBytes;
  const std::string path = directory + "/unsynced";
  std::string text;
  for (const bool set_aside : {false, true}) {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file, create_file(path));
    LAMINA_RETURN_IF_ERROR(set_aside ? os::allocate(file.get(), kBytes, path)
                                     : os::truncate(file.get(), kBytes, path));
    const std::vector<std::byte> block(kBlockBytes, std::byte{1});
    LAMINA_RETURN_IF_ERROR(os::write_at(file.get(), block, 5 * kBlockBytes, path));
    LAMINA_RETURN_IF_ERROR(os::write_at(file.get(), block, 9 * kBlockBytes, path));
    LAMINA_ASSIGN_OR_RETURN(const Extents sought, os::data_extents(file.get(), kBytes, path));
    LAMINA_ASSIGN_OR_RETURN(const Extents mapped, map_extents(file.get(), kBytes, Flush::kNo));
    LAMINA_ASSIGN_OR_RETURN(const Extents flushed, map_extents(file.get(), kBytes, Flush::kYes));
    text += fmt::format("{}unsynced, 2 blocks written to {}: ours {}, FIEMAP {}, synced {}",
                        text.empty() ? "" : "; ", set_aside ? "unwritten storage" : "a hole",
                        sought.size(), mapped.size(), flushed.size());
    LAMINA_RETURN_IF_ERROR(remove_all(path));
  }
  return text;
}

struct Pattern {
  const char* name;
  std::uint32_t run_blocks;
  double share;
};

class HoleContenders {
 public:
  HoleContenders(std::string path, std::uint64_t bytes, std::size_t runs)
      : path_(std::move(path)), bytes_(bytes), runs_(runs) {}

  Contender ours() {
    return make("ours", [this](int fd) { return os::data_extents(fd, bytes_, path_); });
  }
  Contender by_fiemap(const std::string& name, Flush flush) {
    return make(name, [this, flush](int fd) { return map_extents(fd, bytes_, flush); });
  }

 private:
  Contender make(const std::string& name, std::function<Result<Extents>(int)> find) {
    return {name,
            {},
            [this, find = std::move(find)]() -> Status {
              LAMINA_ASSIGN_OR_RETURN(const os::Fd file, open_file(path_, O_RDONLY));
              LAMINA_ASSIGN_OR_RETURN(found_, find(file.get()));
              return {};
            },
            [this]() -> Status {
              LAMINA_ASSIGN_OR_RETURN(const os::Fd file, open_file(path_, O_RDONLY));
              LAMINA_ASSIGN_OR_RETURN(const Extents expected,
                                      os::data_extents(file.get(), bytes_, path_));
              if (found_ == expected && found_.size() == runs_) return {};
              return fail(ErrorKind::kCorrupt, "{} runs found, {} written", found_.size(), runs_);
            },
            {}};
  }

  std::string path_;
  std::uint64_t bytes_;
  std::size_t runs_;
  Extents found_;
};

Status compare_pattern(Bench& bench, const std::string& name, const Place& place,
                       const Pattern& pattern) {
  const std::string path = place.directory + "/diff";
  const std::uint32_t blocks = bench.memory_blocks();
  const auto runs = static_cast<std::uint32_t>(pattern.share * blocks / pattern.run_blocks);
  LAMINA_RETURN_IF_ERROR(
      write_diff_file(path, blocks, spread_runs(blocks, runs, pattern.run_blocks, 1)));
  HoleContenders contenders(path, bench.memory_bytes(), runs);
  Comparison comparison;
  comparison.name = name;
  comparison.what = fmt::format("finding {} runs of {} blocks: lseek, or FIEMAP by 512 extents",
                                runs, pattern.run_blocks);
  comparison.contenders = {contenders.ours(), contenders.by_fiemap("fiemap", Flush::kNo),
                           contenders.by_fiemap("fiemap-sync", Flush::kYes)};
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  LAMINA_ASSIGN_OR_RETURN(const std::string unsynced, show_unsynced(place.directory));
  bench.note(unsynced);
  return remove_all(path);
}

}  // namespace

Status run_hole_suspects(Bench& bench) {
  constexpr std::uint64_t kRoomBytes = std::uint64_t{512} << 20;
  for (const Pattern& pattern :
       {Pattern{"runs-of-8", 8, 0.03}, Pattern{"every-other-block", 1, 0.5}}) {
    const std::string name = fmt::format("suspect-seek-fiemap/{}", pattern.name);
    LAMINA_RETURN_IF_ERROR(
        with_each_place(bench, name, bench.memory_bytes() + kRoomBytes, [&](const Place& place) {
          return compare_pattern(bench, fmt::format("{}/{}", name, place.name), place, pattern);
        }));
  }
  return {};
}

}  // namespace lamina::bench
