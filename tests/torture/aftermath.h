// What must hold of a store after a power failure or a failed call, found out by lamina itself.
#pragma once

#include <string>

#include "scene.h"

namespace lamina::torture {

/// How far the operation had come.
struct Progress {
  bool done = false;      ///< it had returned success
  bool recorded = false;  ///< a pause: its acknowledgement was on the disk, so it must be completed
  /// It was given again after a kill. A merge that finds nothing to do says nothing of the one that
  /// was killed, which may have to be done again.
  bool again = false;
};

/// What a snapshot resolves to.
enum class Found { kBefore, kAfter, kNeither };

class Aftermath {
 public:
  /// `stage` must outlive this.
  Aftermath(Stage& stage, const Scene& scene) : stage_(stage), scene_(scene) {}

  /// All that is to be checked after a power failure: what readers find; recovery, twice; what
  /// they find then; the operation once more. kFailed says what is wrong.
  Status check(const Progress& progress);

  /// Recovers the store, and says what the target resolves to then.
  Result<Found> recover_once();

  /// What a reader finds. An error when that is none of what is allowed.
  Result<Found> look(const Progress& progress);

  /// Nothing half done is in the store, and the memory file is where it belongs.
  Status look_around(Found found);

 private:
  [[nodiscard]] Status check_snapshot(const std::string& name, const Memory& memory) const;
  [[nodiscard]] Result<Found> look_at_target(const Progress& progress) const;
  /// For a target whose memory stays the same: its layers tell.
  [[nodiscard]] Result<Found> look_at_layers(const Progress& progress) const;
  [[nodiscard]] Status look_at_out(const Progress& progress) const;
  [[nodiscard]] Status look_at_working_set() const;
  [[nodiscard]] Status look_at_memory_file(Found found) const;
  Status recover_store();

  Stage& stage_;
  const Scene& scene_;
};

}  // namespace lamina::torture
