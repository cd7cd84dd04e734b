// Who takes part in which search.
#pragma once

#include <vector>

#include "properties.h"

namespace lamina::object_tier_model {

/// Together a few seconds: for every run of the tests.
std::vector<Config> small_configurations();

/// Minutes: object_tier_model --whole.
std::vector<Config> whole_configurations();

/// A fault in the protocol, what it leads to, and a search that is large enough to find that.
struct Fault {
  Violation violation = Violation::kNone;
  Config config;
};

std::vector<Fault> faults();

}  // namespace lamina::object_tier_model
