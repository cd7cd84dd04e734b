// Kernel definitions that are newer than the oldest supported kernel headers (Linux 6.1). Whether
// the kernel has them is probed at run time.
#pragma once

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <cstdint>

namespace lamina::os {

/// UFFD_FEATURE_POISON, Linux 6.6.
inline constexpr std::uint64_t kUffdFeaturePoison = std::uint64_t{1} << 14;
/// UFFD_FEATURE_WP_ASYNC, Linux 6.7.
inline constexpr std::uint64_t kUffdFeatureWpAsync = std::uint64_t{1} << 15;
/// UFFD_FEATURE_MOVE, Linux 6.8.
inline constexpr std::uint64_t kUffdFeatureMove = std::uint64_t{1} << 16;

/// cachestat(2), Linux 6.5; the same number on every architecture.
inline constexpr long kCachestatNumber = 451;
struct CachestatRange {
  std::uint64_t offset;
  std::uint64_t length;  ///< 0: to the end
};
struct Cachestat {
  std::uint64_t cached_pages;
  std::uint64_t dirty_pages;
  std::uint64_t pages_being_written;
  std::uint64_t evicted_pages;
  std::uint64_t recently_evicted_pages;
};

/// SO_PEERPIDFD, Linux 6.5.
inline constexpr int kSoPeerPidfd = 77;

/// struct uffdio_poison, Linux 6.6.
struct UffdioPoison {
  uffdio_range range;
  std::uint64_t mode;
  std::int64_t updated;
};
inline constexpr std::uint32_t kUffdioPoisonNumber = 0x08;
inline constexpr unsigned long kUffdioPoison = _IOWR(UFFDIO, kUffdioPoisonNumber, UffdioPoison);

/// PAGEMAP_SCAN, Linux 6.7 (<https://docs.kernel.org/admin-guide/mm/pagemap.html>).
struct PageRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};
struct PagemapScanArgument {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t vector;
  std::uint64_t vector_length;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};
inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScanArgument);
inline constexpr std::uint64_t kPageIsFile = std::uint64_t{1} << 2;
inline constexpr std::uint64_t kPageIsPresent = std::uint64_t{1} << 3;
inline constexpr std::uint64_t kPageIsSwapped = std::uint64_t{1} << 4;

}  // namespace lamina::os
