#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina {

enum class Verdict : std::uint8_t {
  kGood,
  kWarning,  ///< works, at a price that the detail names
  kBad,      ///< a store here, or this part of lamina, cannot work
};

struct Finding {
  std::string subject;  ///< "holes", "reflink", "userfaultfd", …
  Verdict verdict = Verdict::kGood;
  std::string detail;
};

struct DoctorReport {
  std::string directory;
  std::vector<Finding> file_system;  ///< tried out in the directory
  std::vector<Finding> machine;

  /// True when a store can be kept in the directory.
  [[nodiscard]] bool is_usable() const;
};

/// Tries out what a store needs (holes, links, exchange, reflink, direct syncs) in `directory`,
/// which is left as it was, and what the machine offers the page server. `progress`, which may be
/// null, is only asked between the trials whether to stop.
Result<DoctorReport> examine(const std::string& directory, Progress* progress = nullptr);

}  // namespace lamina
