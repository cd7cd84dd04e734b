// Visits every state that a configuration can reach, breadth-first, each once.
//
// States are stored whole and compared whole: two different states are never taken for the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "properties.h"

namespace lamina::object_tier_model {

/// What occurred in some state: a search that finds nothing must have seen what could go wrong.
struct Seen {
  bool acknowledged[kPushes] = {};
  bool conflict = false;
  bool second_attempt_acknowledged = false;
  bool collected = false;      ///< an object was deleted
  bool uploaded_anew = false;  ///< an object that a push wanted to reuse
  bool void_stored = false;
  bool removal_stored = false;
  bool late_manifest = false;
  bool dead_tombstone = false;  ///< all actors have ended, and it is there
  bool pull_ended = false;
};

struct Search {
  std::uint64_t states = 0;
  std::uint64_t steps = 0;
  int depth = 0;
  bool complete = true;  ///< false: `limit` states were reached
  Seen seen;
  Violation violation = Violation::kNone;
  std::vector<std::string> trace;  ///< the shortest that leads to the violation
};

/// Stops at the first violation. `only`: the violation that counts; kNone: every one. A state after
/// a violation that does not count is visited like any other.
Search explore(const Config& config, std::uint64_t limit, Violation only = Violation::kNone);

}  // namespace lamina::object_tier_model
