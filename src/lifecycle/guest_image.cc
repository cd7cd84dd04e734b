#include "lifecycle/guest_image.h"

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

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

/// Copies the data of a part of a file. Its holes stay holes.
Status copy_data(int from, const ByteRange& range, int out, std::uint64_t out_offset,
                 const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> data,
                          os::written_ranges(from, range.end(), path));
  std::vector<std::byte> buffer(kCopyBytes);
  for (const ByteRange& run : data) {
    std::uint64_t at = std::max(run.offset, range.offset);
    while (at < run.end()) {
      const std::span<std::byte> some =
          std::span(buffer).first(std::min<std::uint64_t>(kCopyBytes, run.end() - at));
      LAMINA_RETURN_IF_ERROR(os::read_exactly_at(from, some, at, path));
      LAMINA_RETURN_IF_ERROR(os::write_at(out, some, out_offset + (at - range.offset), path));
      at += some.size();
    }
  }
  return {};
}

}  // namespace

Result<std::vector<ImagePart>> find_parts(const std::vector<os::FileMapping>& mappings,
                                          const os::FileFacts& file, const ByteRange& range,
                                          std::uint64_t image) {
  std::vector<ImagePart> parts;
  for (const os::FileMapping& mapping : mappings) {
    if (mapping.device != file.device || mapping.inode != file.inode) continue;
    const std::uint64_t mapped_end = mapping.file_offset + (mapping.end - mapping.begin);
    const std::uint64_t begin = std::max(mapping.file_offset, range.offset);
    const std::uint64_t end = std::min(mapped_end, range.end());
    if (begin >= end) continue;
    if (!mapping.is_private) {
      return fail(ErrorKind::kUnsupported, "the file of its memory is mapped shared at {:#x}",
                  mapping.begin);
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

Status GuestImage::write_parts(const std::vector<ImagePart>& parts, int out,
                               const std::string& path, std::vector<ByteRange>* written) const {
  for (const ImagePart& part : parts) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<ByteRange> pages,
                            memory_.written_pages(part.address, part.address + part.length));
    for (const ByteRange& run : pages) {
      const std::uint64_t image = part.image_offset + (run.offset - part.address);
      LAMINA_RETURN_IF_ERROR(write_run({image, run.length, run.offset}, out, path));
      if (written == nullptr) continue;
      if (!written->empty() && written->back().end() == image) {
        written->back().length += run.length;
      } else {
        written->push_back({image, run.length});
      }
    }
  }
  return {};
}

Result<std::vector<ByteRange>> GuestImage::write_changed(int out, const std::string& path) const {
  LAMINA_RETURN_IF_ERROR(os::truncate(out, layout_.memory_bytes, path));
  std::vector<ByteRange> written;
  for (const Source& source : sources_) {
    LAMINA_RETURN_IF_ERROR(write_parts(source.parts, out, path, &written));
  }
  return written;
}

Status GuestImage::write_all(int out, const std::string& path) const {
  LAMINA_RETURN_IF_ERROR(os::truncate(out, layout_.memory_bytes, path));
  for (const Source& source : sources_) {
    LAMINA_RETURN_IF_ERROR(copy_data(source.file, source.range, out, source.image_offset, path));
    LAMINA_RETURN_IF_ERROR(write_parts(source.parts, out, path, nullptr));
  }
  return {};
}

}  // namespace lamina::lifecycle
