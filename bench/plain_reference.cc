#include "plain_reference.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"

namespace lamina::bench {
namespace {

using Block = std::array<std::byte, kBlockBytes>;
using Marks = std::vector<std::uint8_t>;

bool is_zero_block(const Block& block) {
  for (std::size_t i = 0; i < block.size(); i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, &block[i], sizeof(word));
    if (word != 0) return false;
  }
  return true;
}

/// read(2) until the block is full or the file ends; a short block is padded with zeros.
Status read_next(int fd, Block& block, const std::string& path) {
  std::size_t done = 0;
  while (done < block.size()) {
    const ssize_t count = ::read(fd, &block[done], block.size() - done);
    if (count < 0) {
      if (errno == EINTR) continue;
      return system_failure("read", path, errno);
    }
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  std::fill(block.begin() + static_cast<std::ptrdiff_t>(done), block.end(), std::byte{0});
  return {};
}

Status write_next(int fd, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0) {
      if (errno == EINTR) continue;
      return system_failure("write", path, errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<os::Fd> create_file(const std::string& path) {
  return os::open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC, path, 0644);
}

Status write_header(const PlainHeader& header, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd fd, create_file(path));
  return write_next(fd.get(), serialize(header), path);
}

struct Stored {
  std::uint64_t memory_bytes = 0;
  Marks data;
  Marks zeros;
};

/// The loop of both ingests: reads every block, writes those that are not zeros.
Result<Stored> store_blocks(const std::string& memory_file, const std::string& data_path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile source,
                          os::open_regular(AT_FDCWD, memory_file, O_RDONLY, memory_file));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd destination, create_file(data_path));
  Stored stored;
  stored.memory_bytes = source.facts.size_bytes;
  const std::uint64_t blocks = blocks_for(stored.memory_bytes);
  stored.data.resize(blocks);
  stored.zeros.resize(blocks);
  Block block;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    LAMINA_RETURN_IF_ERROR(read_next(source.fd.get(), block, memory_file));
    if (is_zero_block(block)) {
      stored.zeros[i] = 1;
      continue;
    }
    stored.data[i] = 1;
    LAMINA_RETURN_IF_ERROR(write_next(destination.get(), block, data_path));
  }
  return stored;
}

/// The end of a full ingest and of a merge: a first header from what is data and what is zeros.
Result<PlainHeader> finish_first(const Stored& stored, const Uuid& build,
                                 const std::string& header_path) {
  PlainHeader header;
  header.memory_bytes = stored.memory_bytes;
  header.build_id = build;
  header.base_build_id = build;
  header.mapping = normalize_mappings(
      merge_mappings(create_mapping(build, stored.data), create_mapping(Uuid{}, stored.zeros)));
  header.index();
  LAMINA_RETURN_IF_ERROR(write_header(header, header_path));
  return header;
}

}  // namespace

Result<PlainHeader> plain_ingest_full(const std::string& memory_file, const PlainPaths& out,
                                      const Uuid& build) {
  LAMINA_ASSIGN_OR_RETURN(const Stored stored, store_blocks(memory_file, out.data));
  return finish_first(stored, build, out.header);
}

Result<PlainHeader> plain_ingest_diff(const std::string& memory_file, const PlainPaths& out,
                                      const PlainHeader& parent, const Uuid& build) {
  LAMINA_ASSIGN_OR_RETURN(const Stored stored, store_blocks(memory_file, out.data));
  PlainHeader header;
  header.memory_bytes = parent.memory_bytes;
  header.generation = parent.generation + 1;
  header.build_id = build;
  header.base_build_id = parent.base_build_id;
  header.mapping =
      normalize_mappings(merge_mappings(parent.mapping, create_mapping(build, stored.data)));
  header.index();
  LAMINA_RETURN_IF_ERROR(write_header(header, out.header));
  return header;
}

Result<PlainHeader> plain_merge(const PlainHeader& header,
                                const std::map<std::string, std::string>& files,
                                const PlainPaths& out) {
  std::map<std::string, os::Fd> sources;
  for (const auto& [build, path] : files) {
    LAMINA_ASSIGN_OR_RETURN(sources[build], os::open_at(AT_FDCWD, path, O_RDONLY, path));
  }
  LAMINA_ASSIGN_OR_RETURN(const os::Fd destination, create_file(out.data));
  Stored stored;
  stored.memory_bytes = header.memory_bytes;
  const std::uint64_t blocks = blocks_for(header.memory_bytes);
  stored.data.resize(blocks);
  stored.zeros.resize(blocks);
  Block block;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const auto place = header.find(i * kBlockBytes);
    if (!place) return fail(ErrorKind::kCorrupt, "no record covers block {}", i);
    if (place->build.is_nil()) {
      stored.zeros[i] = 1;
      continue;
    }
    // The original, too, finds the file by the build id's text, for each block.
    const auto source = sources.find(place->build.to_string());
    if (source == sources.end()) {
      return fail(ErrorKind::kNotFound, "no file for build {}", place->build.to_string());
    }
    LAMINA_RETURN_IF_ERROR(
        os::read_exactly_at(source->second.get(), block, place->storage_offset, source->first));
    stored.data[i] = 1;
    LAMINA_RETURN_IF_ERROR(write_next(destination.get(), block, out.data));
  }
  return finish_first(stored, Uuid::random(), out.header);
}

}  // namespace lamina::bench
