#include "lifecycle/memfd_memory.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "lifecycle/guest_image.h"
#include "os/file.h"
#include "os/huge_memory_file.h"
#include "os/process_memory.h"
#include "os/shared_mapping.h"

namespace lamina::lifecycle {
namespace {

constexpr const char* kObject = "the VM's memory";
constexpr std::uint32_t kStepBlocks = 64;

/// One range's memory, while it is filled.
class Memfd {
 public:
  static Result<Memfd> make(const vmm::RamMapping& range, const vmm::HugeZone* huge) {
    Memfd made(range);
    if (huge == nullptr) {
      LAMINA_ASSIGN_OR_RETURN(made.file_, os::make_memory_file("lamina-ram"));
    } else {
      made.page_bytes_ = huge->page_bytes;
      LAMINA_ASSIGN_OR_RETURN(made.file_,
                              os::make_huge_memory_file("lamina-ram", made.page_bytes_));
    }
    if (range.size_bytes % made.page_bytes_ != 0) {
      return fail(ErrorKind::kUnsupported,
                  "the memory at guest address {:#x} has {} bytes, which are not whole pages of {}",
                  range.guest_address, range.size_bytes, made.page_bytes_);
    }
    LAMINA_RETURN_IF_ERROR(os::truncate(made.file_.get(), range.size_bytes, kObject));
    // A shared mapping of huge pages reserves them for the file, also when it is unmapped.
    auto mapping = os::SharedMapping::map(made.file_.get(), range.size_bytes, kObject);
    if (!mapping && huge != nullptr) {
      return with_remedy(
          fail(
              ErrorKind::kNoSpace,
              "the memory at guest address {:#x} needs {} huge pages of {} bytes, and the host has "
              "fewer left",
              range.guest_address, range.size_bytes / made.page_bytes_, made.page_bytes_),
          "raise vm.nr_hugepages, or resume on 4 KiB pages with `huge_pages=none`");
    }
    if (!mapping) return std::unexpected(mapping.error());
    made.mapping_ = std::move(*mapping);
    return made;
  }

  /// Blocks [first, first + count) of the memory file, which are in the range.
  Status fill(const engine::Chain& snapshot, std::uint32_t first, std::uint32_t count) {
    const std::uint64_t begin = first * kBlockBytes - range_.image_offset;
    const std::uint64_t end = begin + count * kBlockBytes;
    // A page that cannot be had is an error here, and a signal when it is written.
    const std::uint64_t from = std::max(allocated_, begin / page_bytes_ * page_bytes_);
    const std::uint64_t to = (end + page_bytes_ - 1) / page_bytes_ * page_bytes_;
    if (from < to) {
      LAMINA_RETURN_IF_ERROR(os::reserve(file_.get(), {from, to - from}, kObject));
      allocated_ = to;
    }
    return snapshot.read(first, mapping_.bytes().subspan(begin, end - begin),
                         engine::Chain::Check::kChecksums);
  }

  os::Fd take() && { return std::move(file_); }

 private:
  explicit Memfd(const vmm::RamMapping& range) : range_(range) {}

  vmm::RamMapping range_;
  os::Fd file_;
  os::SharedMapping mapping_;
  std::uint64_t page_bytes_ = kBlockBytes;
  std::uint64_t allocated_ = 0;
};

Status fill_range(Memfd& memfd, const vmm::RamMapping& range, const engine::Chain& snapshot,
                  Progress* progress) {
  const auto end =
      static_cast<std::uint32_t>((range.image_offset + range.size_bytes) / kBlockBytes);
  for (auto at = static_cast<std::uint32_t>(range.image_offset / kBlockBytes); at < end;) {
    if (progress != nullptr && progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    const mapping::Extent extent = snapshot.mapping().resolve(at);
    const bool is_data = extent.layer != mapping::kZeros;
    std::uint32_t count = std::min(extent.block_count, end - at);
    if (is_data) {
      count = std::min(count, kStepBlocks);
      LAMINA_RETURN_IF_ERROR(memfd.fill(snapshot, at, count));
    }
    if (progress != nullptr) progress->advance(count * kBlockBytes);
    at += count;
  }
  return {};
}

}  // namespace

Result<Memfds> make_memfds(const vmm::MemoryLayout& layout,
                           const vmm::MemoryConfiguration& configuration,
                           const engine::Chain& snapshot, Progress* progress) {
  if (progress != nullptr) progress->begin("filling memory", layout.memory_bytes);
  Memfds memfds;
  for (const vmm::RamMapping& range : layout.mappings) {
    LAMINA_ASSIGN_OR_RETURN(Memfd memfd,
                            Memfd::make(range, configuration.huge_zone_of(range.zone)));
    LAMINA_RETURN_IF_ERROR(fill_range(memfd, range, snapshot, progress));
    if (!memfds.emplace(range.slot, std::move(memfd).take()).second) {
      return fail(ErrorKind::kCorrupt, "two ranges of the VM's memory have slot {}", range.slot);
    }
  }
  return memfds;
}

Status check_maps_memfds(pid_t pid, const vmm::MemoryLayout& layout, const Memfds& memfds) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<os::FileMapping> mapped, os::file_mappings_of(pid));
  for (const vmm::RamMapping& range : layout.mappings) {
    const auto memfd = memfds.find(range.slot);
    if (memfd == memfds.end()) {
      return fail(ErrorKind::kUnsupported, "slot {} has no memfd", range.slot);
    }
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(memfd->second.get(), kObject));
    const auto parts = find_parts(mapped, facts, {0, range.size_bytes}, 0, MappedAs::kShared);
    if (!parts) {
      return std::unexpected(with_context(
          fmt::format("the memory at guest address {:#x}", range.guest_address), parts.error()));
    }
  }
  return {};
}

}  // namespace lamina::lifecycle
