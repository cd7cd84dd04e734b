// One scene with its disk, its mount and its worker, ready to be tried.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "history.h"
#include "mount.h"
#include "worker.h"

namespace lamina::torture {

struct TrialOptions {
  std::string mount;    ///< a directory to mount at
  std::string outside;  ///< a directory for what is not on the disk
  std::string fake_firecracker;
  std::uint64_t seed = 1;
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  std::size_t random_states = 8;  ///< for each record
  bool drop_syncs = false;
  bool only_kills = false;  ///< of try_crashes(): only power failures after a kill and a recovery
};

/// A line of the table, and what went wrong.
struct TrialReport {
  static constexpr std::size_t kMaxLines = 12;

  std::vector<std::uint64_t> figures;
  std::uint64_t violations = 0;
  bool is_complete = true;  ///< false: the time was up before all was tried
  double seconds = 0;
  std::vector<std::string> lines;  ///< findings, the first kMaxLines of them
};

class Trial {
 public:
  /// Sets the scene up. Throws std::runtime_error when that fails.
  Trial(const Scene& scene, const TrialOptions& options);

  /// Carries the operation out once, undisturbed, and learns what it makes.
  History record();

  /// The disk before the operation.
  [[nodiscard]] const Disk& base() const { return base_; }
  Mount& mount() { return mount_; }
  Worker& worker() { return worker_; }

 private:
  Worker worker_;  // forked before the mount's thread is there
  Mount mount_;
  const Scene& scene_;
  Disk base_;
};

/// Power failures at every moment: figures are recorded operations, syncs, states.
TrialReport try_crashes(const Scene& scene, const TrialOptions& options);

/// Of those, only power failures after a process was killed and another one has recovered. It is
/// killed before each sync, so at the same moments whatever the seed.
TrialReport try_kills(const Scene& scene, const TrialOptions& options);

/// Every sync in turn is taken for never done: which of them are needed?
TrialReport try_without_syncs(const Scene& scene, const TrialOptions& options);

/// Every call in turn fails: figures are calls, runs, errors, runs that succeeded all the same.
TrialReport try_faults(const Scene& scene, const TrialOptions& options);

}  // namespace lamina::torture
