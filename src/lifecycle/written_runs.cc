#include "lifecycle/written_runs.h"

#include <fcntl.h>

#include <cstddef>
#include <span>

#include "base/bytes.h"
#include "base/error.h"
#include "format/checksum.h"
#include "os/directory.h"
#include "os/file.h"

namespace lamina::lifecycle {
namespace {

constexpr std::uint64_t kMagic = 0x6e65747469727721;  // "!written"
/// Larger records are not read: a run for every other page of the largest memory needs more.
constexpr std::uint64_t kMaxBytes = std::uint64_t{256} << 20;

}  // namespace

Status write_written_runs(const std::vector<ByteRange>& runs, int directory,
                          const std::string& directory_path) {
  const std::string path = directory_path + "/" + kWrittenRunsName;
  ByteWriter bytes(3 * sizeof(std::uint64_t) + 2 * sizeof(std::uint64_t) * runs.size());
  bytes.put(kMagic);
  bytes.put(std::uint64_t{runs.size()});
  for (const ByteRange& run : runs) {
    bytes.put(run.offset);
    bytes.put(run.length);
  }
  bytes.put(format::checksum64(bytes.view()));
  LAMINA_RETURN_IF_ERROR(os::remove_file(directory, kWrittenRunsName, path));
  LAMINA_ASSIGN_OR_RETURN(
      const os::Fd fd, os::open_at(directory, kWrittenRunsName, O_RDWR | O_CREAT | O_EXCL, path));
  return os::write_at(fd.get(), bytes.view(), 0, path);
}

std::optional<std::vector<ByteRange>> read_written_runs(int directory,
                                                        const std::string& directory_path,
                                                        std::uint64_t memory_bytes) {
  const auto bytes = os::read_if_exists(directory, kWrittenRunsName, kMaxBytes,
                                        directory_path + "/" + kWrittenRunsName);
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  if (!bytes || !*bytes || (*bytes)->size() < 3 * kWord) return std::nullopt;
  const std::span<const std::byte> all = **bytes;
  const auto body = all.first(all.size() - kWord);
  ByteReader reader(body);
  ByteReader end(all.last(kWord));
  const bool is_record = reader.get<std::uint64_t>() == kMagic;
  const auto count = reader.get<std::uint64_t>();
  if (!is_record || end.get<std::uint64_t>() != format::checksum64(body) ||
      count != (body.size() - 2 * kWord) / (2 * kWord)) {
    return std::nullopt;
  }
  std::vector<ByteRange> runs;
  runs.reserve(count);
  std::uint64_t done = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto offset = reader.get<std::uint64_t>();
    const auto length = reader.get<std::uint64_t>();
    if (offset < done || offset > memory_bytes || length > memory_bytes - offset) {
      return std::nullopt;
    }
    done = offset + length;
    runs.push_back({offset, length});
  }
  return runs;
}

}  // namespace lamina::lifecycle
