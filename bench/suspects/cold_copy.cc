#include "cold_copy.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"
#include "os/page_cache.h"
#include "os/sparse_file.h"
#include "suspect_files.h"

namespace lamina::bench {
namespace {

constexpr std::size_t kAnnouncedRuns = 32;
constexpr std::uint64_t kGatherBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kDropBytes = std::uint64_t{8} << 20;

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
  Copier(const std::string& source, std::uint64_t bytes, const std::string& target,
         const CopyWay& way)
      : source_path_(source), bytes_(bytes), target_path_(target), way_(way) {}

  Status run() {
    LAMINA_ASSIGN_OR_RETURN(source_, open_file(source_path_, O_RDONLY | way_.open_flags));
    LAMINA_ASSIGN_OR_RETURN(
        target_, os::open_at(AT_FDCWD, target_path_, O_RDWR | O_CREAT | O_EXCL | way_.open_flags,
                             target_path_));
    if (way_.advises_random) ::posix_fadvise(source_.get(), 0, 0, POSIX_FADV_RANDOM);
    LAMINA_ASSIGN_OR_RETURN(const std::vector<os::DataExtent> extents,
                            os::data_extents(source_.get(), bytes_, source_path_));
    for (std::size_t i = 0; i < extents.size(); ++i) {
      const os::DataExtent& extent = extents[i];
      if (way_.announces) announce(extents, i);
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
    LAMINA_RETURN_IF_ERROR(flush(bytes_));
    LAMINA_RETURN_IF_ERROR(os::sync(target_.get(), target_path_));
    if (!way_.drops_behind) return {};
    LAMINA_RETURN_IF_ERROR(drop(source_.get(), bytes_));
    return drop(target_.get(), written_);
  }

 private:
  void announce(const std::vector<os::DataExtent>& extents, std::size_t index) const {
    const std::size_t end = std::min(index + kAnnouncedRuns + 1, extents.size());
    for (std::size_t i = index == 0 ? 1 : index + kAnnouncedRuns; i < end; ++i) {
      os::read_ahead(source_.get(), extents[i].offset, extents[i].length);
    }
  }

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
  std::uint64_t bytes_;
  const std::string& target_path_;
  const CopyWay& way_;
  AlignedBuffer buffer_;
  os::Fd source_;
  os::Fd target_;
  std::uint64_t used_ = 0;
  std::uint64_t written_ = 0;
  std::uint64_t started_ = 0;  ///< bytes of the target that are being written to the disk
  std::uint64_t waited_ = 0;   ///< bytes of the target that are there
};

}  // namespace

Status copy_data(const std::string& source, std::uint64_t bytes, const std::string& target,
                 const CopyWay& way) {
  return Copier(source, bytes, target, way).run();
}

}  // namespace lamina::bench
