#include "suspects_dirty_set.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"
#include "os/kernel_definitions.h"
#include "os/userfaultfd.h"
#include "suspects_kernel.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{2} << 20;

bool is_tracked(Tracking tracking) { return tracking != Tracking::kNone; }

std::uint64_t features_of(Tracking tracking, Backing backing) {
  std::uint64_t features = 0;
  if (tracking == Tracking::kSync) features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
  if (tracking == Tracking::kAsync) {
    features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | os::kUffdFeatureWpAsync | kUffdFeatureWpUnpopulated;
  }
  return backing == Backing::kShared ? features | UFFD_FEATURE_WP_HUGETLBFS_SHMEM : features;
}

std::uint64_t modes_of(Tracking tracking, Backing backing) {
  if (backing == Backing::kHuge) return UFFDIO_REGISTER_MODE_WP;
  const bool protects = tracking == Tracking::kSync || tracking == Tracking::kAsync;
  return UFFDIO_REGISTER_MODE_MISSING | (protects ? UFFDIO_REGISTER_MODE_WP : std::uint64_t{0});
}

}  // namespace

Result<std::unique_ptr<TrackedGuest>> TrackedGuest::start(const BareLayer& layer,
                                                          const std::vector<std::uint32_t>& touches,
                                                          Tracking tracking, Backing backing,
                                                          const Placement& placement) {
  std::unique_ptr<TrackedGuest> tracked(new TrackedGuest(layer, tracking));
  BareTask task;
  task.memory_bytes = layer.bytes().size();
  task.touches = touches;
  task.backing = backing;
  task.access = Access::kWrite;
  task.cpu = placement.guest;
  task.features = features_of(tracking, backing);
  task.modes = modes_of(tracking, backing);
  LAMINA_ASSIGN_OR_RETURN(tracked->guest_, BareGuest::start(task));
  const BareGuest& guest = *tracked->guest_;
  if (backing == Backing::kHuge) {
    LAMINA_RETURN_IF_ERROR(tracked->protect(guest.address(), guest.memory_bytes(), true));
    return tracked;
  }
  if (tracking == Tracking::kSyncLate) {
    uffdio_register registration{};
    registration.range = {guest.address(), guest.memory_bytes()};
    registration.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
    if (::ioctl(guest.userfaultfd(), UFFDIO_REGISTER, &registration) != 0) {
      return system_failure("register", "guest", errno);
    }
  }
  LAMINA_RETURN_IF_ERROR(tracked->populate());
  return tracked;
}

Status TrackedGuest::populate() {
  const std::uint64_t data_bytes = data_blocks() * kBlockBytes;
  for (std::uint64_t done = 0; done < data_bytes;) {
    uffdio_copy copy{};
    copy.dst = guest_->address() + done;
    copy.src = reinterpret_cast<std::uint64_t>(&layer_.bytes()[done]);
    copy.len = std::min(kPieceBytes, data_bytes - done);
    copy.mode = is_tracked(tracking_) ? UFFDIO_COPY_MODE_WP : 0;
    if (::ioctl(guest_->userfaultfd(), UFFDIO_COPY, &copy) != 0) {
      return system_failure("copy to", "guest", errno);
    }
    done += copy.len;
  }
  const std::uint64_t zeros = guest_->address() + data_bytes;
  const std::uint64_t zero_bytes = guest_->memory_bytes() - data_bytes;
  const auto filled = os::uffd_zero(guest_->userfaultfd(), zeros, zero_bytes);
  if (filled.outcome != os::FillOutcome::kDone) {
    return system_failure("zero", "guest", filled.error_number);
  }
  // UFFDIO_ZEROPAGE knows no protection: the zeros need an ioctl more.
  return is_tracked(tracking_) ? protect(zeros, zero_bytes, true) : Status{};
}

Status TrackedGuest::protect(std::uint64_t address, std::uint64_t length, bool is_protected) const {
  uffdio_writeprotect argument{};
  argument.range = {address, length};
  argument.mode = is_protected ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  if (::ioctl(guest_->userfaultfd(), UFFDIO_WRITEPROTECT, &argument) == 0) return {};
  return system_failure("write-protect", "guest", errno);
}

Status TrackedGuest::write() {
  LAMINA_RETURN_IF_ERROR(guest_->go());
  return serve_guest(*guest_, {}, [&](std::span<const uffd_msg> events) -> Status {
    for (const uffd_msg& event : events) {
      if ((event.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) == 0) {
        return fail(ErrorKind::kFailed, "a page of the guest is missing");
      }
      const auto block = static_cast<std::uint32_t>(
          (event.arg.pagefault.address - guest_->address()) / kBlockBytes);
      noted_.push_back(block);
      LAMINA_RETURN_IF_ERROR(protect(guest_->address() + block * kBlockBytes, kBlockBytes, false));
    }
    return {};
  });
}

DirtySet TrackedGuest::noted() const {
  DirtySet set = noted_;
  std::ranges::sort(set);
  const auto twice = std::ranges::unique(set);
  set.erase(twice.begin(), twice.end());
  return set;
}

Result<os::Fd> TrackedGuest::open_pagemap() const {
  const std::string path = fmt::format("/proc/{}/pagemap", guest_->pid());
  return os::open_at(AT_FDCWD, path, O_RDONLY, path);
}

Result<DirtySet> TrackedGuest::scanned(bool protect) const {
  constexpr std::size_t kRegions = 4096;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd pagemap, open_pagemap());
  std::vector<PageRegion> regions(kRegions);
  DirtySet set;
  PagemapScan scan{};
  scan.size = sizeof(scan);
  scan.flags = kScanCheckWpAsync | (protect ? kScanWpMatching : 0);
  scan.start = guest_->address();
  scan.end = guest_->address() + guest_->memory_bytes();
  scan.regions = reinterpret_cast<std::uint64_t>(regions.data());
  scan.region_count = regions.size();
  scan.category_mask = kPageIsWritten;
  scan.return_mask = kPageIsWritten;
  while (scan.start < scan.end) {
    const int count = ::ioctl(pagemap.get(), kPagemapScan, &scan);
    if (count < 0) return system_failure("PAGEMAP_SCAN", "guest", errno);
    for (const PageRegion& region : std::span(regions).first(static_cast<std::size_t>(count))) {
      for (std::uint64_t page = region.start; page < region.end; page += kBlockBytes) {
        const auto block = static_cast<std::uint32_t>((page - guest_->address()) / kBlockBytes);
        // Linux 6.18 may say that it ended before what it has reported: that comes once more.
        if (set.empty() || block > set.back()) set.push_back(block);
      }
    }
    scan.start = scan.walk_end;
  }
  return set;
}

Result<DirtySet> TrackedGuest::read_from_pagemap() const {
  constexpr std::size_t kEntries = 65'536;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd pagemap, open_pagemap());
  std::vector<std::uint64_t> entries(kEntries);
  DirtySet set;
  for (std::uint32_t block = 0; block < layer_.block_count();) {
    const auto piece = std::span(entries).first(
        std::min<std::size_t>(entries.size(), layer_.block_count() - block));
    const std::uint64_t page = guest_->address() / kBlockBytes + block;
    LAMINA_RETURN_IF_ERROR(os::read_exactly_at(pagemap.get(), std::as_writable_bytes(piece),
                                               page * sizeof(std::uint64_t), "pagemap"));
    for (const std::uint64_t entry : piece) {
      if ((entry & kPagemapPresent) != 0 && (entry & kPagemapUffdWp) == 0) set.push_back(block);
      ++block;
    }
  }
  return set;
}

Result<DirtySet> TrackedGuest::compared() const {
  std::vector<std::byte> theirs(kPieceBytes);
  const std::vector<std::byte> zeros(kBlockBytes);
  DirtySet set;
  for (std::uint64_t done = 0; done < guest_->memory_bytes(); done += kPieceBytes) {
    LAMINA_RETURN_IF_ERROR(read_process(guest_->pid(), guest_->address() + done, theirs));
    for (std::uint64_t i = 0; i < kPieceBytes; i += kBlockBytes) {
      const auto block = static_cast<std::uint32_t>((done + i) / kBlockBytes);
      const std::byte* before = block < data_blocks() ? &layer_.bytes()[done + i] : zeros.data();
      if (std::memcmp(&theirs[i], before, kBlockBytes) != 0) set.push_back(block);
    }
  }
  return set;
}

}  // namespace lamina::bench
