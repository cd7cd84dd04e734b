#include "format/working_set.h"

#include <algorithm>
#include <string_view>

#include "base/block.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/checksum.h"

namespace lamina::format {
namespace {

constexpr std::string_view kMagic = "LAMINAWS";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kFixedBytes = 32;
constexpr std::size_t kRunBytes = 2 * sizeof(std::uint32_t);
constexpr std::size_t kChecksumBytes = sizeof(std::uint64_t);

}  // namespace

std::uint64_t max_working_set_bytes() {
  return kFixedBytes + kMaxWorkingSetRuns * kRunBytes + kChecksumBytes;
}

Result<WorkingSet> decode_working_set(std::span<const std::byte> bytes) {
  if (bytes.size() < kFixedBytes + kChecksumBytes) {
    return fail(ErrorKind::kCorrupt, "the working set has {} bytes, fewer than {}", bytes.size(),
                kFixedBytes + kChecksumBytes);
  }
  ByteReader reader(bytes);
  const auto magic = reader.get_bytes(kMagic.size());
  if (!std::equal(magic.begin(), magic.end(), std::as_bytes(std::span(kMagic)).begin())) {
    return fail(ErrorKind::kCorrupt, "not a working set");
  }
  const auto version = reader.get<std::uint32_t>();
  if (version != kVersion) {
    return fail(ErrorKind::kCorrupt, "the working set has version {}; this build reads version {}",
                version, kVersion);
  }
  const std::uint64_t count = reader.get<std::uint32_t>();
  WorkingSet working_set;
  working_set.memory_bytes = reader.get<std::uint64_t>();
  reader.get<std::uint64_t>();  // reserved
  if (count > kMaxWorkingSetRuns ||
      bytes.size() != kFixedBytes + count * kRunBytes + kChecksumBytes) {
    return fail(ErrorKind::kCorrupt, "the working set has {} bytes for {} runs", bytes.size(),
                count);
  }
  const auto covered = bytes.first(bytes.size() - kChecksumBytes);
  if (ByteReader(bytes.subspan(covered.size())).get<std::uint64_t>() != checksum64(covered)) {
    return fail(ErrorKind::kCorrupt, "the working set does not match its checksum");
  }
  const std::uint64_t blocks = blocks_for(working_set.memory_bytes);
  working_set.runs.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto first = reader.get<std::uint32_t>();
    const auto length = reader.get<std::uint32_t>();
    if (length == 0 || std::uint64_t{first} + length > blocks) {
      return fail(ErrorKind::kCorrupt, "run {} of the working set is [{:#x}, {:#x}), not in memory",
                  i, first * kBlockBytes, (std::uint64_t{first} + length) * kBlockBytes);
    }
    working_set.runs.push_back({first, length});
  }
  return working_set;
}

std::vector<std::byte> encode_working_set(const WorkingSet& working_set) {
  ByteWriter writer;
  writer.put_bytes(std::as_bytes(std::span(kMagic)));
  writer.put(kVersion);
  writer.put(static_cast<std::uint32_t>(working_set.runs.size()));
  writer.put(working_set.memory_bytes);
  writer.put(std::uint64_t{0});
  for (const BlockRun& run : working_set.runs) {
    writer.put(run.first);
    writer.put(run.count);
  }
  writer.put(checksum64(writer.view()));
  return writer.take();
}

}  // namespace lamina::format
