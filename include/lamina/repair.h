#pragma once

#include <string>
#include <vector>

#include "lamina/result.h"

namespace lamina {

struct RepairReport {
  bool header_rebuilt = false;
  bool facts_rebuilt = false;
  std::vector<std::string> notes;
};

/// Rebuilds a snapshot's header from the trailers of its layers when it is missing or corrupt, and
/// snapshot.json when that is. Only ever adds what is provably right: a missing or damaged layer is
/// an error, and nothing is changed then. Holds the lock of the name: kBusy when a writer has it.
Result<RepairReport> repair(const std::string& snapshot);

}  // namespace lamina
