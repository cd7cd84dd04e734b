// Whether an object store does what lamina's object tier needs.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::object_store {

struct ProbeCheck {
  std::string name;  ///< "conditional_put_race"
  std::string what;  ///< for a person: "of 8 conditional puts at once, one succeeds"
  bool passed = false;
  std::string detail;  ///< why not; "" if passed
};

struct ProbeReport {
  std::string store;
  std::vector<ProbeCheck> checks;
  /// The server's clock less this host's; nullopt if the server tells none.
  std::optional<std::chrono::seconds> clock_difference{};
  /// Objects that could not be removed again.
  std::vector<std::string> left_behind{};

  [[nodiscard]] bool usable() const;
};

/// Writes some 20 MiB below "probe/" and a random name, checks what the store does, and removes it
/// again. If nothing can be written, that is the report's only check. `store` must not be one that
/// repeats requests. kInterrupted if `progress` (may be null) asks to stop.
Result<ProbeReport> probe(ObjectStore& store, Progress* progress);

}  // namespace lamina::object_store
