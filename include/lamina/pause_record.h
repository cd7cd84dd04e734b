// How a pause was taken, as its snapshot records it for a person.
#pragma once

#include <optional>
#include <string>

namespace lamina {

/// The phases of a pause that had ended when its facts were written; milliseconds, as in
/// PausePhases.
struct RecordedPhases {
  double prepare_ms = 0;
  double pause_ms = 0;
  double create_ms = 0;
  double journal_ms = 0;
  double hook_ms = 0;
  double resume_ms = 0;
  double frozen_ms = 0;  ///< 0 without a resume

  bool operator==(const RecordedPhases&) const = default;
};

struct PauseRecord {
  bool is_diff = false;
  std::string reason;  ///< why it is a diff or a full memory file. Untrusted text of a file
  /// Absent: another process completed the pause, after a crash.
  std::optional<RecordedPhases> phases;

  bool operator==(const PauseRecord&) const = default;
};

}  // namespace lamina
