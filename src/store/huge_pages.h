// Firecracker's names of the pages that a VM's memory may be on.
#pragma once

#include <string>

#include "lamina/huge_pages.h"

namespace lamina::store {

/// Of memory that can be loaded by page faults only.
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
