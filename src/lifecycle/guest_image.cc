#include "lifecycle/guest_image.h"

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "os/sparse_file.h"

namespace lamina::lifecycle {
namespace {

constexpr std::uint64_t kCopyBytes = std::uint64_t{1} << 20;

const vmm::FileZone* zone_of(const vmm::MemoryConfiguration& configuration, const std::string& id) {
  for (const vmm::FileZone& zone : configuration.file_zones) {
    if (zone.id == id) return &zone;
  }
  return nullptr;
}

bool overlaps(const ByteRange& a, const ByteRange& b) {
  return a.offset < b.end() && b.offset < a.end();
}

/// True if one of `ranges` has bytes of `range`. `next`: the first that may; both only grow.
bool has_any(const std::vector<ByteRange>& ranges, const ByteRange& range, std::size_t& next) {
  while (next < ranges.size() && ranges[next].end() <= range.offset) ++next;
  return next < ranges.size() && overlaps(ranges[next], range);
}

void append_run(std::vector<ByteRange>& runs, std::uint64_t offset, std::uint64_t length) {
  if (!runs.empty() && runs.back().end() == offset) {
    runs.back().length += length;
  } else {
    runs.push_back({offset, length});
  }
}

bool is_zeros(const engine::Chain* base, const ByteRange& range) {
  if (base == nullptr) return true;
  const mapping::Extent extent =
      base->mapping().resolve(static_cast<std::uint32_t>(range.offset / kBlockBytes));
  return extent.layer == mapping::kZeros && extent.block_count * kBlockBytes >= range.length;
}

/// The runs of blocks in which two images of the same range differ; offsets count from it.
std::vector<ByteRange> different_runs(std::span<const std::byte> a, std::span<const std::byte> b) {
  std::vector<ByteRange> runs;
  for (std::uint64_t at = 0; at < a.size(); at += kBlockBytes) {
    if (std::memcmp(&a[at], &b[at], kBlockBytes) != 0) append_run(runs, at, kBlockBytes);
  }
  return runs;
}

}  // namespace

Result<std::vector<ImagePart>> find_parts(const std::vector<os::FileMapping>& mappings,
                                          const os::FileFacts& file, const ByteRange& range,
                                          std::uint64_t image, MappedAs as) {
  std::vector<ImagePart> parts;
  for (const os::FileMapping& mapping : mappings) {
    if (mapping.device != file.device || mapping.inode != file.inode) continue;
    const std::uint64_t mapped_end = mapping.file_offset + (mapping.end - mapping.begin);
    const std::uint64_t begin = std::max(mapping.file_offset, range.offset);
    const std::uint64_t end = std::min(mapped_end, range.end());
    if (begin >= end) continue;
    if (mapping.is_private != (as == MappedAs::kPrivate)) {
      return fail(ErrorKind::kUnsupported, "the file of its memory is mapped {} at {:#x}",
                  mapping.is_private ? "privately" : "shared", mapping.begin);
    }
    parts.push_back({image + (begin - range.offset), end - begin,
                     mapping.begin + (begin - mapping.file_offset)});
  }
  std::sort(parts.begin(), parts.end(),
            [](const ImagePart& a, const ImagePart& b) { return a.image_offset < b.image_offset; });
  std::uint64_t next = image;
  bool is_covered = true;
  for (const ImagePart& part : parts) {
    is_covered = is_covered && part.image_offset == next;
    next += part.length;
  }
  is_covered = is_covered && next == image + range.length;
  if (is_covered) return parts;
  return fail(ErrorKind::kUnsupported,
              "its process does not map bytes {} to {} of the file of its memory exactly once",
              range.offset, range.end());
}

Result<GuestImage> GuestImage::find(pid_t pid, const std::string& config,
                                    const std::map<std::uint32_t, os::Fd>& memfds,
                                    const os::OpenedFile* map) {
  LAMINA_ASSIGN_OR_RETURN(vmm::MemoryLayout layout, vmm::decode_layout(config));
  LAMINA_ASSIGN_OR_RETURN(const vmm::MemoryConfiguration configuration, vmm::decode_memory(config));
  LAMINA_ASSIGN_OR_RETURN(os::ProcessMemory memory, os::ProcessMemory::open(pid));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<os::FileMapping> mapped, os::file_mappings_of(pid));
  GuestImage image(std::move(layout), std::move(memory));
  image.sources_.reserve(image.layout_.mappings.size());
  for (const vmm::RamMapping& mapping : image.layout_.mappings) {
    const Status added = image.add(mapping, mapped, memfds, map, configuration);
    if (!added) {
      return std::unexpected(
          with_context(fmt::format("the memory of process {} at guest address {:#x}", pid,
                                   mapping.guest_address),
                       added.error()));
    }
  }
  return image;
}

Status GuestImage::add(const vmm::RamMapping& mapping, const std::vector<os::FileMapping>& mapped,
                       const std::map<std::uint32_t, os::Fd>& memfds, const os::OpenedFile* map,
                       const vmm::MemoryConfiguration& configuration) {
  Source source;
  source.range = {mapping.file_offset, mapping.size_bytes};
  source.image_offset = mapping.image_offset;
  const auto memfd = memfds.find(mapping.slot);
  if (memfd != memfds.end()) {
    is_map_ = false;
    source.file = memfd->second.get();
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(source.file, "memfd"));
    if (facts.size_bytes < source.range.end()) {
      return fail(ErrorKind::kCorrupt, "its memfd has {} bytes, its range ends at {}",
                  facts.size_bytes, source.range.end());
    }
    sources_.push_back(std::move(source));
    return {};
  }
  if (map != nullptr) {
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts file, os::facts_as_mapped(*map, "map"));
    auto parts = find_parts(mapped, file, source.range, mapping.image_offset);
    if (parts && mapping.file_offset == mapping.image_offset) {
      source.file = map->fd.get();
      source.parts = std::move(*parts);
      sources_.push_back(std::move(source));
      return {};
    }
  }
  is_map_ = false;
  const vmm::FileZone* zone = zone_of(configuration, mapping.zone);
  if (zone == nullptr) {
    return fail(ErrorKind::kUnsupported, "zone '{}' was not handed over and has no file",
                mapping.zone);
  }
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile opened,
                          os::open_regular(AT_FDCWD, zone->file, O_RDONLY, zone->file));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts file, os::facts_as_mapped(opened, zone->file));
  LAMINA_ASSIGN_OR_RETURN(source.parts,
                          find_parts(mapped, file, source.range, mapping.image_offset));
  if (opened.facts.size_bytes < source.range.end()) {
    return fail(ErrorKind::kUnsupported, "'{}' has {} bytes, its range ends at {}", zone->file,
                opened.facts.size_bytes, source.range.end());
  }
  source.opened = std::move(opened.fd);
  source.file = source.opened.get();
  sources_.push_back(std::move(source));
  return {};
}

Status GuestImage::write_run(const ImagePart& run, int out, const std::string& path) const {
  std::vector<std::byte> buffer(std::min(run.length, kCopyBytes));
  for (std::uint64_t done = 0; done < run.length;) {
    const std::span<std::byte> some =
        std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), run.length - done));
    LAMINA_RETURN_IF_ERROR(memory_.read(some, run.address + done));
    LAMINA_RETURN_IF_ERROR(os::write_at(out, some, run.image_offset + done, path));
    done += some.size();
  }
  return {};
}

/// What the process has of its own in private memory, in order.
Result<std::vector<ImagePart>> GuestImage::written_parts(const Source& source) const {
  std::vector<ImagePart> written;
  for (const ImagePart& part : source.parts) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> pages,
                            memory_.written_pages(part.address, part.address + part.length));
    for (const ByteRange& run : pages) {
      written.push_back({part.image_offset + (run.offset - part.address), run.length, run.offset});
    }
  }
  return written;
}

Result<std::vector<ByteRange>> GuestImage::write_changed(int out, const std::string& path) const {
  LAMINA_RETURN_IF_ERROR(os::truncate(out, layout_.memory_bytes, path));
  std::vector<ByteRange> written;
  for (const Source& source : sources_) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<ImagePart> parts, written_parts(source));
    for (const ImagePart& run : parts) {
      LAMINA_RETURN_IF_ERROR(write_run(run, out, path));
      append_run(written, run.image_offset, run.length);
    }
  }
  return written;
}

/// Writes the blocks that are not those of `base` (null: zeros), and adds them to `written`. A part
/// without data here and there is not read.
Status GuestImage::write_others(const Source& source, const engine::Chain* base, int out,
                                const std::string& path, std::vector<ByteRange>& written) const {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> data,
                          os::written_ranges(source.file, source.range.end(), path));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<ImagePart> own, written_parts(source));
  std::vector<std::byte> memory(kCopyBytes);
  std::vector<std::byte> before(kCopyBytes);
  std::size_t next_data = 0;
  std::size_t next_own = 0;
  for (std::uint64_t done = 0; done < source.range.length; done += kCopyBytes) {
    const std::uint64_t length = std::min(kCopyBytes, source.range.length - done);
    const ByteRange image{source.image_offset + done, length};
    const ByteRange file{source.range.offset + done, length};
    while (next_own < own.size() &&
           own[next_own].image_offset + own[next_own].length <= image.offset) {
      ++next_own;
    }
    const bool has_own = next_own < own.size() && own[next_own].image_offset < image.end();
    const bool has_data = has_any(data, file, next_data);
    if (!has_own && !has_data && is_zeros(base, image)) continue;

    const auto now = std::span(memory).first(length);
    std::fill(now.begin(), now.end(), std::byte{0});
    if (has_data) LAMINA_RETURN_IF_ERROR(os::read_exactly_at(source.file, now, file.offset, path));
    for (std::size_t i = next_own; i < own.size() && own[i].image_offset < image.end(); ++i) {
      const std::uint64_t begin = std::max(own[i].image_offset, image.offset);
      const std::uint64_t end = std::min(own[i].image_offset + own[i].length, image.end());
      LAMINA_RETURN_IF_ERROR(memory_.read(now.subspan(begin - image.offset, end - begin),
                                          own[i].address + (begin - own[i].image_offset)));
    }
    const auto then = std::span(before).first(length);
    const auto block = static_cast<std::uint32_t>(image.offset / kBlockBytes);
    const bool is_known =
        base == nullptr || base->read(block, then, engine::Chain::Check::kNone).has_value();
    std::vector<ByteRange> runs = {{0, length}};
    if (is_known) runs = different_runs(now, then);
    for (const ByteRange& run : runs) {
      LAMINA_RETURN_IF_ERROR(
          os::write_at(out, now.subspan(run.offset, run.length), image.offset + run.offset, path));
      append_run(written, image.offset + run.offset, run.length);
    }
  }
  return {};
}

Result<std::vector<ByteRange>> GuestImage::write_different(const engine::Chain& base, int out,
                                                           const std::string& path) const {
  LAMINA_RETURN_IF_ERROR(os::truncate(out, layout_.memory_bytes, path));
  std::vector<ByteRange> written;
  for (const Source& source : sources_) {
    LAMINA_RETURN_IF_ERROR(write_others(source, &base, out, path, written));
  }
  return written;
}

Status GuestImage::write_all(int out, const std::string& path) const {
  LAMINA_RETURN_IF_ERROR(os::truncate(out, layout_.memory_bytes, path));
  std::vector<ByteRange> written;
  for (const Source& source : sources_) {
    LAMINA_RETURN_IF_ERROR(write_others(source, nullptr, out, path, written));
  }
  return {};
}

Status read_ahead(const engine::Chain& base, Progress& progress) {
  std::vector<std::byte> buffer(kCopyBytes);
  const std::uint32_t most = kCopyBytes / kBlockBytes;
  const mapping::Mapping& mapping = base.mapping();
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const mapping::Extent extent = mapping.extent(i);
    if (extent.layer == mapping::kZeros) continue;
    for (std::uint32_t done = 0; done < extent.block_count; done += most) {
      if (progress.interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
      const std::uint32_t count = std::min(most, extent.block_count - done);
      static_cast<void>(base.read(extent.guest_block + done,
                                  std::span(buffer).first(count * kBlockBytes),
                                  engine::Chain::Check::kNone));
    }
  }
  return {};
}

}  // namespace lamina::lifecycle
