// The memory of a real guest: the memory files of its pauses, as tests/guest/guest_run.py --keep
// leaves them, a full one and diffs with the holes that the VMM left.
#pragma once

#include <string>
#include <vector>

#include "guest_memory.h"
#include "lamina/result.h"

namespace lamina::bench {

struct RecordedGuest {
  GuestMemory first;                         ///< at the first pause
  std::vector<std::vector<DirtyRun>> diffs;  ///< what each later pause wrote
};

/// Reads the files named *.mem in a directory, in the order of their names. What comes of them
/// reads their contents when it is asked, so they must stay. Fails when there are not two, or when
/// they are not of one size.
Result<RecordedGuest> open_recorded_guest(const std::string& directory);

}  // namespace lamina::bench
