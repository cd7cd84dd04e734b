// Firecracker's names for the pages of a VM's memory.
#pragma once

#include <string>

#include "lamina/huge_pages.h"

namespace lamina::store {

/// 2 MiB pages (hugetlbfs). Firecracker loads such memory by page faults only.
inline constexpr const char* kHugetlbfsPages = "2M";

/// Firecracker's name; `before` for kAsBefore.
inline std::string huge_pages_name(HugePages pages, const std::string& before) {
  switch (pages) {
    case HugePages::kNone:
      return "None";
    case HugePages::kTransparent:
      return "Transparent";
    case HugePages::k2MiB:
      return kHugetlbfsPages;
    case HugePages::kAsBefore:
      break;
  }
  return before;
}

}  // namespace lamina::store
