// What a directory and this machine offer to lamina: for an installation's check, before a store is
// made.
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
  kBad,      ///< a store in this directory, or this part of lamina, cannot work
};

/// One thing that was tried.
struct Finding {
  std::string subject;  ///< "holes", "reflink", "userfaultfd", …
  Verdict verdict = Verdict::kGood;
  std::string detail;  ///< one line
};

struct DoctorReport {
  std::string directory;
  std::vector<Finding> file_system;  ///< tried in the directory
  std::vector<Finding> machine;

  /// True when a store can be kept in the directory.
  [[nodiscard]] bool is_usable() const;
};

/// Tries what a store needs (owner, holes, links, exchange, reflink) in `directory`, and
/// what the machine offers to the page server. Removes its files afterwards. `progress` may be
/// null; it is only asked, between the trials, whether to stop.
///
/// Something that does not work is a finding, not an error. Errors: kNotFound: there is no such
/// directory; kNoSpace: too little space to try anything; kInterrupted; else kFailed. Thread-safe.
Result<DoctorReport> examine(const std::string& directory, Progress* progress = nullptr);

}  // namespace lamina
