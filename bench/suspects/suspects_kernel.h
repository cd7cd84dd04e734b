// Kernel definitions newer than the headers that this is built with. Probed at run time.
#pragma once

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <cstdint>

namespace lamina::bench {

/// UFFD_FEATURE_WP_UNPOPULATED, Linux 6.4.
inline constexpr std::uint64_t kUffdFeatureWpUnpopulated = std::uint64_t{1} << 13;

/// struct uffdio_move, Linux 6.8.
struct UffdioMove {
  std::uint64_t destination;
  std::uint64_t source;
  std::uint64_t length;
  std::uint64_t mode;
  std::int64_t moved;
};
inline constexpr std::uint32_t kUffdioMoveNumber = 0x05;
inline constexpr unsigned long kUffdioMove = _IOWR(UFFDIO, kUffdioMoveNumber, UffdioMove);

/// struct page_region and struct pm_scan_arg of /proc/PID/pagemap, Linux 6.7.
struct PageRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};
struct PagemapScan {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t regions;
  std::uint64_t region_count;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};
inline constexpr std::uint32_t kPagemapScanNumber = 16;
inline constexpr unsigned long kPagemapScan = _IOWR('f', kPagemapScanNumber, PagemapScan);
inline constexpr std::uint64_t kPageIsWritten = 1U << 1;
inline constexpr std::uint64_t kScanWpMatching = 1U << 0;
inline constexpr std::uint64_t kScanCheckWpAsync = 1U << 1;

/// Bits of an entry that read(2) of /proc/PID/pagemap gives.
inline constexpr std::uint64_t kPagemapUffdWp = std::uint64_t{1} << 57;
inline constexpr std::uint64_t kPagemapPresent = std::uint64_t{1} << 63;

}  // namespace lamina::bench
