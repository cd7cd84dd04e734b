#include "snapshot_check.h"

#include <fcntl.h>

#include <algorithm>
#include <span>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"
#include "store/snapshot_directory.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kChunkBlocks = 64;

Status compare(const GuestMemory& memory, std::uint32_t first, std::span<const std::byte> bytes,
               const std::string& object) {
  const auto count = static_cast<std::uint32_t>(bytes.size() / kBlockBytes);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!memory.matches(first + i, bytes.subspan(i * kBlockBytes, kBlockBytes))) {
      return fail(ErrorKind::kCorrupt, "'{}': block {} is not what the guest had", object,
                  first + i);
    }
  }
  return {};
}

}  // namespace

Status check_snapshot(const std::string& path, const GuestMemory& memory) {
  LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot, store::open_snapshot(path));
  std::vector<std::byte> buffer(kChunkBlocks * kBlockBytes);
  for (std::uint32_t block = 0; block < memory.block_count(); block += kChunkBlocks) {
    const std::uint32_t count = std::min(kChunkBlocks, memory.block_count() - block);
    const auto chunk = std::span(buffer).first(count * kBlockBytes);
    LAMINA_RETURN_IF_ERROR(snapshot.chain.read(block, chunk, engine::Chain::Check::kChecksums));
    LAMINA_RETURN_IF_ERROR(compare(memory, block, chunk, path));
  }
  return {};
}

Status check_plain(const PlainHeader& header, const std::map<std::string, std::string>& files,
                   const GuestMemory& memory) {
  std::vector<std::byte> block(kBlockBytes);
  for (const PlainRecord& record : header.mapping) {
    os::Fd fd;
    std::string path = "zeros";
    if (!record.build.is_nil()) {
      const auto found = files.find(record.build.to_string());
      if (found == files.end()) return fail(ErrorKind::kNotFound, "a build of no file");
      path = found->second;
      LAMINA_ASSIGN_OR_RETURN(fd, os::open_at(AT_FDCWD, path, O_RDONLY, path));
    }
    for (std::uint64_t done = 0; done < record.length; done += kBlockBytes) {
      std::fill(block.begin(), block.end(), std::byte{0});
      if (fd.valid()) {
        LAMINA_RETURN_IF_ERROR(
            os::read_exactly_at(fd.get(), block, record.storage_offset + done, path));
      }
      const auto number = static_cast<std::uint32_t>((record.offset + done) / kBlockBytes);
      LAMINA_RETURN_IF_ERROR(compare(memory, number, block, path));
    }
  }
  return {};
}

Status check_memory_file(const std::string& path, const GuestMemory& memory) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  if (file.facts.size_bytes != memory.block_count() * kBlockBytes) {
    return fail(ErrorKind::kCorrupt, "'{}' has {} bytes", path, file.facts.size_bytes);
  }
  std::vector<std::byte> buffer(kChunkBlocks * kBlockBytes);
  for (std::uint32_t block = 0; block < memory.block_count(); block += kChunkBlocks) {
    const std::uint32_t count = std::min(kChunkBlocks, memory.block_count() - block);
    const auto chunk = std::span(buffer).first(count * kBlockBytes);
    LAMINA_RETURN_IF_ERROR(os::read_exactly_at(file.fd.get(), chunk, block * kBlockBytes, path));
    LAMINA_RETURN_IF_ERROR(compare(memory, block, chunk, path));
  }
  return {};
}

}  // namespace lamina::bench
