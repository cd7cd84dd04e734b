// A merge on xfs with reflink: from which run length on does a clone call pay, and what does the
// result cost whoever reads it later? Runs come from two layers in turn, so that no two of the
// result lie side by side.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "file_cache.h"
#include "floor_loops.h"
#include "os/file.h"
#include "os/range_copy.h"
#include "storage_suspects.h"
#include "suspect_files.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kGatherBlocks = 256;

class CloneContenders {
 public:
  CloneContenders(const Place& place, const LayerFiles& layers, std::uint32_t run_blocks)
      : place_(place), layers_(layers), run_blocks_(run_blocks) {}

  [[nodiscard]] std::string target(const std::string& way) const {
    return place_.directory + "/merged-" + way;
  }
  [[nodiscard]] std::uint32_t runs() const { return layers_.blocks() / run_blocks_; }

  /// One clone call for each run.
  Status clone(const std::string& path) const {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd to, create_file(path));
    LAMINA_RETURN_IF_ERROR(each_run([&](int from, std::uint64_t offset) -> Status {
      LAMINA_ASSIGN_OR_RETURN(const bool cloned,
                              os::clone_range(from, offset, to.get(), offset, run_bytes(), path));
      return cloned ? Status{} : fail(ErrorKind::kFailed, "'{}' cannot share storage", path);
    }));
    return os::sync(to.get(), path);
  }

  /// Each run read and written; with `gather_bytes` written when that many have been read.
  Status copy(const std::string& path, std::uint64_t gather_bytes) const {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd to, create_file(path));
    std::vector<std::byte> buffer(std::max(gather_bytes, run_bytes()));
    std::uint64_t used = 0;
    LAMINA_RETURN_IF_ERROR(each_run([&](int from, std::uint64_t offset) -> Status {
      const auto room = std::span(buffer).subspan(used, run_bytes());
      LAMINA_RETURN_IF_ERROR(os::read_exactly_at(from, room, offset, "a layer"));
      used += run_bytes();
      if (used < buffer.size()) return {};
      const std::uint64_t start = offset + run_bytes() - used;
      used = 0;
      return os::write_at(to.get(), buffer, start, path);
    }));
    return os::sync(to.get(), path);
  }

  [[nodiscard]] Status check(const std::string& path) const {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file, open_file(path, O_RDONLY));
    std::vector<std::byte> run(run_bytes());
    for (std::uint32_t i = 0; i < runs(); ++i) {
      LAMINA_RETURN_IF_ERROR(os::read_exactly_at(file.get(), run, i * run_bytes(), path));
      LAMINA_RETURN_IF_ERROR(layers_.check(i % layers_.count(), i * run_blocks_, run));
    }
    return {};
  }

  Contender merge(const std::string& name, std::function<Status(const std::string&)> way) {
    const std::string path = target(name);
    return {name, [this] { return settle(place_.directory); },
            [path, way = std::move(way)] { return way(path); },
            [this, path] { return check(path); }, [path] { return remove_all(path); }};
  }

  Contender read(const std::string& name, const std::string& path) {
    return {name,
            [path] { return make_cold(path); },
            [path] { return read_whole_file(path); },
            [this, path] { return check(path); },
            {}};
  }

 private:
  [[nodiscard]] std::uint64_t run_bytes() const { return run_blocks_ * kBlockBytes; }

  Status each_run(const std::function<Status(int, std::uint64_t)>& move) const {
    for (std::uint32_t i = 0; i < runs(); ++i) {
      LAMINA_RETURN_IF_ERROR(move(layers_.fd(i % layers_.count()), i * run_bytes()));
    }
    return {};
  }

  const Place& place_;
  const LayerFiles& layers_;
  std::uint32_t run_blocks_;
};

Status compare_merges(Bench& bench, const std::string& name, CloneContenders& contenders) {
  Comparison comparison;
  comparison.name = name;
  comparison.what = "a merge's data, fsync included: a clone call a run, or read and written";
  comparison.contenders = {
      contenders.merge("ours", [&](const std::string& path) { return contenders.clone(path); }),
      contenders.merge("copy", [&](const std::string& path) { return contenders.copy(path, 0); }),
      contenders.merge("copy-gathered", [&](const std::string& path) {
        return contenders.copy(path, kGatherBlocks * kBlockBytes);
      })};
  return bench.run(comparison);
}

Status compare_reads(Bench& bench, const std::string& name, CloneContenders& contenders,
                     std::uint64_t bytes) {
  const std::string cloned = contenders.target("cloned");
  const std::string copied = contenders.target("copied");
  LAMINA_RETURN_IF_ERROR(contenders.clone(cloned));
  LAMINA_RETURN_IF_ERROR(contenders.copy(copied, kGatherBlocks * kBlockBytes));
  Comparison comparison;
  comparison.name = name;
  comparison.what = "a cold merged layer read from one end to the other: cloned, or copied";
  comparison.bytes = bytes;
  comparison.contenders = {contenders.read("ours", cloned), contenders.read("copied", copied)};
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  LAMINA_ASSIGN_OR_RETURN(const std::string cloned_lies, describe_storage(cloned));
  LAMINA_ASSIGN_OR_RETURN(const std::string copied_lies, describe_storage(copied));
  bench.note(fmt::format("cloned: {}; copied: {}", cloned_lies, copied_lies));
  LAMINA_RETURN_IF_ERROR(remove_all(cloned));
  return remove_all(copied);
}

}  // namespace

Status run_clone_suspects(Bench& bench) {
  constexpr std::uint64_t kRoomBytes = std::uint64_t{512} << 20;
  constexpr std::uint32_t kLayers = 2;
  const std::string name = "suspect-clone-granularity";
  const std::vector<std::uint32_t> lengths = {1, 4, 16, 64, 256};
  const auto name_of = [&](std::uint32_t length, const char* part) {
    return fmt::format("{}/{}/{}", name, part, length);
  };
  if (std::ranges::none_of(lengths, [&](std::uint32_t length) {
        return bench.wants(name_of(length, "merge")) || bench.wants(name_of(length, "cold-read"));
      })) {
    return {};
  }
  const std::uint64_t image_bytes = 2 * bench.memory_bytes() + kRoomBytes;
  return with_loop_image(
      bench, name, FileSystem::kXfs, image_bytes, [&](const Place& place) -> Status {
        LAMINA_ASSIGN_OR_RETURN(
            const LayerFiles layers,
            LayerFiles::create(place.directory, kLayers, bench.memory_blocks() / 4));
        for (const std::uint32_t length : lengths) {
          CloneContenders contenders(place, layers, length);
          if (const std::string merge = name_of(length, "merge"); bench.wants(merge)) {
            LAMINA_RETURN_IF_ERROR(compare_merges(bench, merge, contenders));
            bench.note(fmt::format("{} runs of {} blocks", contenders.runs(), length));
          }
          if (const std::string read = name_of(length, "cold-read"); bench.wants(read)) {
            LAMINA_RETURN_IF_ERROR(
                compare_reads(bench, read, contenders, layers.blocks() * kBlockBytes));
          }
        }
        return {};
      });
}

}  // namespace lamina::bench
