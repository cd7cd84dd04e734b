#include "floor_loops.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "base/block.h"
#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/sparse_file.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kReadBytes = std::uint64_t{256} << 10;

Result<os::Fd> create(const std::string& path) {
  return os::open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, path);
}

/// Reads [offset, offset + length) of `fd`, and writes it to `to` from `to_offset` on unless that
/// is -1.
Status move_range(int fd, std::uint64_t offset, std::uint64_t length, int to,
                  std::uint64_t to_offset, std::vector<std::byte>& buffer,
                  const std::string& path) {
  for (std::uint64_t done = 0; done < length;) {
    const auto part = std::span(buffer).first(std::min(length - done, kReadBytes));
    LAMINA_RETURN_IF_ERROR(os::read_exactly_at(fd, part, offset + done, path));
    if (to >= 0) LAMINA_RETURN_IF_ERROR(os::write_at(to, part, to_offset + done, path));
    done += part.size();
  }
  return {};
}

Status move_extents(const std::string& path, int to) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> extents,
                          os::written_ranges(file.fd.get(), file.facts.size_bytes, path));
  std::vector<std::byte> buffer(kReadBytes);
  std::uint64_t written = 0;
  for (const ByteRange& extent : extents) {
    LAMINA_RETURN_IF_ERROR(
        move_range(file.fd.get(), extent.offset, extent.length, to, written, buffer, path));
    written += extent.length;
  }
  return {};
}

Status sync_path(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd fd, os::open_at(AT_FDCWD, path, O_RDONLY, path));
  return os::sync(fd.get(), path);
}

Status rename_path(const std::string& from, const std::string& to) {
  return os::rename_new(AT_FDCWD, from, AT_FDCWD, to, to);
}

Status write_synced(const std::string& path, std::uint64_t bytes) {
  const std::vector<std::byte> contents(bytes, std::byte{1});
  return os::write_new_file(AT_FDCWD, path, contents, path);
}

Status clone_range(int from, std::uint64_t from_offset, int to, std::uint64_t to_offset,
                   std::uint64_t length, const std::string& path) {
  file_clone_range range{};
  range.src_fd = from;
  range.src_offset = from_offset;
  range.src_length = length;
  range.dest_offset = to_offset;
  if (::ioctl(to, FICLONERANGE, &range) != 0) return system_failure("clone into", path, errno);
  return {};
}

/// Calls `move` with every run that has storage.
template <typename Move>
Status for_each_live_run(const engine::Chain& chain, const Move& move) {
  for (std::size_t i = 0; i < chain.mapping().extent_count(); ++i) {
    const mapping::Extent run = chain.mapping().extent(i);
    if (run.layer == mapping::kZeros) continue;
    LAMINA_RETURN_IF_ERROR(move(run));
  }
  return {};
}

}  // namespace

Status read_whole_file(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  std::vector<std::byte> buffer(kReadBytes);
  return move_range(file.fd.get(), 0, file.facts.size_bytes, -1, 0, buffer, path);
}

Status read_data_extents(const std::string& path) { return move_extents(path, -1); }

Status copy_data_extents(const std::string& path, const std::string& destination) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to, create(destination));
  return move_extents(path, to.get());
}

Status make_sync_store(const std::string& store) {
  std::error_code error;
  std::filesystem::create_directories(store + "/.pending", error);
  if (error) return fail(ErrorKind::kFailed, "make '{}': {}", store, error.message());
  return sync_path(store);
}

Status do_ingest_syncs(const std::string& store, const std::string& data_file,
                       const SyncPattern& pattern) {
  constexpr std::uint64_t kJournalBytes = 200;
  constexpr std::uint64_t kFactsBytes = 1000;
  const std::string area = store + "/.pending";
  const std::string staging = area + "/staging";
  const std::string layer = staging + "/layer";
  const std::string journal = area + "/journal";
  if (pattern.probes_holes) {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd probe,
                            os::open_at(AT_FDCWD, store, O_TMPFILE | O_RDWR, store));
    const std::array<std::byte, kBlockBytes> block{};
    LAMINA_RETURN_IF_ERROR(os::truncate(probe.get(), pattern.memory_bytes, store));
    LAMINA_RETURN_IF_ERROR(os::write_at(probe.get(), block, kBlockBytes, store));
    LAMINA_RETURN_IF_ERROR(
        os::write_at(probe.get(), block, pattern.memory_bytes - kBlockBytes, store));
    LAMINA_RETURN_IF_ERROR(os::sync(probe.get(), store));
  }
  LAMINA_RETURN_IF_ERROR(os::make_directory(AT_FDCWD, staging, staging));
  if (pattern.adopts) {
    LAMINA_RETURN_IF_ERROR(write_synced(journal, kJournalBytes));
    LAMINA_RETURN_IF_ERROR(sync_path(area));
  }
  LAMINA_RETURN_IF_ERROR(rename_path(data_file, layer));
  if (pattern.adopts) LAMINA_RETURN_IF_ERROR(sync_path(staging));
  {
    LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                            os::open_regular(AT_FDCWD, layer, O_RDWR, layer));
    const std::vector<std::byte> trailer(pattern.sizes.trailer_bytes, std::byte{1});
    LAMINA_RETURN_IF_ERROR(os::write_at(file.fd.get(), trailer, file.facts.size_bytes, layer));
    LAMINA_RETURN_IF_ERROR(os::sync(file.fd.get(), layer));
  }
  LAMINA_RETURN_IF_ERROR(write_synced(staging + "/header", pattern.sizes.header_bytes));
  LAMINA_RETURN_IF_ERROR(write_synced(staging + "/facts", kFactsBytes));
  LAMINA_RETURN_IF_ERROR(sync_path(staging));
  LAMINA_RETURN_IF_ERROR(rename_path(staging, store + "/snapshot"));
  LAMINA_RETURN_IF_ERROR(sync_path(store));
  LAMINA_RETURN_IF_ERROR(sync_path(area));
  return os::remove_file(AT_FDCWD, journal, journal);
}

Status clone_moves(const engine::Chain& chain, std::span<const mapping::Extent> moves,
                   const std::string& destination) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to, create(destination));
  std::uint64_t end = 0;
  for (const mapping::Extent& move : moves) {
    const std::uint64_t length = move.block_count * kBlockBytes;
    LAMINA_RETURN_IF_ERROR(clone_range(chain.layer(move.layer).fd(),
                                       move.storage_block * kBlockBytes, to.get(), end, length,
                                       destination));
    end += length;
  }
  return {};
}

Status copy_moves(const engine::Chain& chain, std::span<const mapping::Extent> moves,
                  const std::string& destination) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to, create(destination));
  off64_t end = 0;
  for (const mapping::Extent& move : moves) {
    auto from = static_cast<off64_t>(move.storage_block * kBlockBytes);
    for (std::uint64_t rest = move.block_count * kBlockBytes; rest > 0;) {
      const ssize_t count =
          ::copy_file_range(chain.layer(move.layer).fd(), &from, to.get(), &end, rest, 0);
      if (count <= 0) return system_failure("copy into", destination, errno);
      rest -= static_cast<std::uint64_t>(count);
    }
  }
  return {};
}

Status sync_with_parent(const std::string& path) {
  LAMINA_RETURN_IF_ERROR(sync_path(path));
  return sync_path(std::filesystem::path(path).parent_path().string());
}

Status read_live_blocks(const engine::Chain& chain) {
  std::vector<std::byte> buffer(kReadBytes);
  return for_each_live_run(chain, [&](const mapping::Extent& run) {
    const engine::Layer& layer = chain.layer(run.layer);
    return move_range(layer.fd(), run.storage_block * kBlockBytes, run.block_count * kBlockBytes,
                      -1, 0, buffer, layer.path());
  });
}

Status copy_live_blocks(const engine::Chain& chain, const std::string& destination) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to, create(destination));
  std::vector<std::byte> buffer(kReadBytes);
  LAMINA_RETURN_IF_ERROR(for_each_live_run(chain, [&](const mapping::Extent& run) {
    const engine::Layer& layer = chain.layer(run.layer);
    return move_range(layer.fd(), run.storage_block * kBlockBytes, run.block_count * kBlockBytes,
                      to.get(), run.guest_block * kBlockBytes, buffer, layer.path());
  }));
  return os::truncate(to.get(), chain.mapping().block_count() * kBlockBytes, destination);
}

Status clone_live_blocks(const engine::Chain& chain, const std::string& destination) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to, create(destination));
  LAMINA_RETURN_IF_ERROR(for_each_live_run(chain, [&](const mapping::Extent& run) {
    return clone_range(chain.layer(run.layer).fd(), run.storage_block * kBlockBytes, to.get(),
                       run.guest_block * kBlockBytes, run.block_count * kBlockBytes, destination);
  }));
  return os::truncate(to.get(), chain.mapping().block_count() * kBlockBytes, destination);
}

Status read_stored_blocks(const engine::Chain& chain) {
  std::vector<std::byte> buffer(kReadBytes);
  for (const engine::Layer& layer : chain.layers()) {
    if (!layer.trailer()) continue;
    for (const mapping::StoredExtent& extent : layer.trailer()->extents) {
      LAMINA_RETURN_IF_ERROR(move_range(layer.fd(), extent.storage_block * kBlockBytes,
                                        extent.block_count * kBlockBytes, -1, 0, buffer,
                                        layer.path()));
    }
  }
  return {};
}

}  // namespace lamina::bench
