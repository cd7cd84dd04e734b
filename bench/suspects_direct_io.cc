// Copying the data of a cold sparse file into a new file, as a compact ingest or a merge does, and
// what that leaves in the page cache, where it pushes out what others use. All end with an fsync.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "page_cache.h"
#include "storage_suspects.h"
#include "striped_memory.h"
#include "suspect_files.h"
#include "sys/file.h"
#include "sys/sparse_file.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSourceBytes = std::uint64_t{256} << 20;
constexpr std::uint32_t kSourceBlocks = kSourceBytes / kBlockBytes;
constexpr std::uint32_t kRunBlocks = 16;
constexpr std::uint64_t kGatherBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kDropBytes = std::uint64_t{8} << 20;
/// RWF_DONTCACHE, Linux 6.14; newer than the headers that this is built with.
constexpr int kDontCache = 0x80;

struct Way {
  std::string name;
  int open_flags = 0;
  int transfer_flags = 0;  ///< of preadv2 and pwritev2
  bool advises_random = false;
  bool drops_behind = false;
};

/// A buffer that direct I/O can use.
class AlignedBuffer {
 public:
  AlignedBuffer() : memory_(std::aligned_alloc(kBlockBytes, kGatherBytes)) {}
  [[nodiscard]] std::span<std::byte> bytes() const {
    return {static_cast<std::byte*>(memory_.get()), kGatherBytes};
  }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }  // NOLINT: of aligned_alloc
  };
  std::unique_ptr<void, Free> memory_;
};

enum class Direction : std::uint8_t { kRead, kWrite };

/// preadv2(2) or pwritev2(2) of all of `bytes`; flags of 0 are a plain pread and pwrite.
Status transfer(Direction direction, int fd, std::span<std::byte> bytes, std::uint64_t offset,
                int flags) {
  while (!bytes.empty()) {
    const iovec piece{bytes.data(), bytes.size()};
    const auto position = static_cast<off64_t>(offset);
    const ssize_t count = direction == Direction::kRead
                              ? ::preadv2(fd, &piece, 1, position, flags)
                              : ::pwritev2(fd, &piece, 1, position, flags);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return system_failure(direction == Direction::kRead ? "read" : "write", "a file", errno);
    }
    if (count == 0) return fail(ErrorKind::kCorrupt, "a file ends early");
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

class Copier {
 public:
  Copier(const std::string& source, const std::string& target, const Way& way)
      : source_path_(source), target_path_(target), way_(way) {}

  Status run() {
    LAMINA_ASSIGN_OR_RETURN(source_, open_file(source_path_, O_RDONLY | way_.open_flags));
    LAMINA_ASSIGN_OR_RETURN(
        target_, sys::open_at(AT_FDCWD, target_path_, O_RDWR | O_CREAT | O_EXCL | way_.open_flags,
                              target_path_));
    if (way_.advises_random) ::posix_fadvise(source_.get(), 0, 0, POSIX_FADV_RANDOM);
    LAMINA_ASSIGN_OR_RETURN(const std::vector<sys::DataExtent> extents,
                            sys::data_extents(source_.get(), kSourceBytes, source_path_));
    for (const sys::DataExtent& extent : extents) {
      for (std::uint64_t done = 0; done < extent.length;) {
        const std::uint64_t part = std::min(extent.length - done, kGatherBytes - used_);
        LAMINA_RETURN_IF_ERROR(transfer(Direction::kRead, source_.get(),
                                        buffer_.bytes().subspan(used_, part), extent.offset + done,
                                        way_.transfer_flags));
        used_ += part;
        done += part;
        if (used_ == kGatherBytes) LAMINA_RETURN_IF_ERROR(flush(extent.offset + done));
      }
    }
    LAMINA_RETURN_IF_ERROR(flush(kSourceBytes));
    LAMINA_RETURN_IF_ERROR(sys::sync(target_.get(), target_path_));
    if (!way_.drops_behind) return {};
    LAMINA_RETURN_IF_ERROR(drop(source_.get(), kSourceBytes));
    return drop(target_.get(), written_);
  }

 private:
  Status flush(std::uint64_t read_to) {
    if (used_ == 0) return {};
    LAMINA_RETURN_IF_ERROR(transfer(Direction::kWrite, target_.get(), buffer_.bytes().first(used_),
                                    written_, way_.transfer_flags));
    written_ += used_;
    used_ = 0;
    return written_ % kDropBytes == 0 ? drop_behind(read_to) : Status{};
  }

  /// Starts to write what is new, waits for what was started the time before and drops that, and
  /// what has been read. From the start each time: a page that was in use then is dropped now.
  Status drop_behind(std::uint64_t read_to) {
    if (!way_.drops_behind) return {};
    LAMINA_RETURN_IF_ERROR(push(started_, written_, SYNC_FILE_RANGE_WRITE));
    LAMINA_RETURN_IF_ERROR(
        push(waited_, started_,
             SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
    waited_ = started_;
    started_ = written_;
    LAMINA_RETURN_IF_ERROR(drop(source_.get(), read_to));
    return waited_ == 0 ? Status{} : drop(target_.get(), waited_);
  }

  Status push(std::uint64_t begin, std::uint64_t end, unsigned flags) {
    if (begin == end) return {};  // a length of 0 would mean all of the file
    if (::sync_file_range(target_.get(), static_cast<off64_t>(begin),
                          static_cast<off64_t>(end - begin), flags) != 0) {
      return system_failure("sync_file_range", target_path_, errno);
    }
    return {};
  }

  static Status drop(int fd, std::uint64_t end) {
    const int error = ::posix_fadvise(fd, 0, static_cast<off_t>(end), POSIX_FADV_DONTNEED);
    return error == 0 ? Status{} : system_failure("posix_fadvise", "a file", error);
  }

  const std::string& source_path_;
  const std::string& target_path_;
  const Way& way_;
  AlignedBuffer buffer_;
  sys::Fd source_;
  sys::Fd target_;
  std::uint64_t used_ = 0;
  std::uint64_t written_ = 0;
  std::uint64_t started_ = 0;  ///< bytes of the target that are being written to the disk
  std::uint64_t waited_ = 0;   ///< bytes of the target that are there
};

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
  [[nodiscard]] Status probe(const Way& way) const {
    const Status ran = Copier(source_, target_, way).run();
    LAMINA_RETURN_IF_ERROR(remove_all(target_));
    return ran;
  }

  Contender make(const Way& way) {
    return {way.name,
            [this]() -> Status {
              LAMINA_RETURN_IF_ERROR(settle(place_.directory));
              return make_cold(source_);
            },
            [this, way] { return Copier(source_, target_, way).run(); },
            [this, way] { return check(way); }, [this] { return remove_all(target_); }};
  }

 private:
  Status check(const Way& way) {
    constexpr std::uint64_t kMebi = std::uint64_t{1} << 20;
    LAMINA_ASSIGN_OR_RETURN(const sys::Fd source, open_file(source_, O_RDONLY));
    LAMINA_ASSIGN_OR_RETURN(const sys::Fd target, open_file(target_, O_RDONLY));
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
        LAMINA_RETURN_IF_ERROR(sys::read_exactly_at(target.get(), block, offset, target_));
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
  const std::vector<Way> ways = {{.name = "ours"},
                                 {.name = "random", .advises_random = true},
                                 {.name = "dontneed", .drops_behind = true},
                                 {.name = "rwf-dontcache", .transfer_flags = kDontCache},
                                 {.name = "o-direct", .open_flags = O_DIRECT}};
  DirectIoContenders contenders(place);
  LAMINA_RETURN_IF_ERROR(contenders.make_source());
  Comparison comparison;
  comparison.name = name;
  comparison.what = "128 MiB in runs of 16 blocks from a cold sparse file of 256 into a new file";
  comparison.bytes = kSourceBytes / 2;
  for (const Way& way : ways) {
    if (const Status works = contenders.probe(way); !works) {
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
  return with_each_place(bench, name, kImageBytes, [&](const Place& place) {
    return compare(bench, fmt::format("{}/{}", name, place.name), place);
  });
}

}  // namespace lamina::bench
