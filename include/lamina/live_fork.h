// Forking a VM that runs on: clones that run before its state is on the disk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/result.h"

namespace lamina {

struct LiveForkOptions {
  /// The checkpoint of the source. `vmm`, `store` and `name` as for pause(); `after` must be
  /// kResume or kStay (the default here is what PauseOptions has, so set it). Hooks and attachments
  /// are possible; `once` is not.
  PauseOptions pause{};
  /// Of the clones: all but `vmm`, `store` and `name`, which are set for each.
  ResumeOptions resume{};
  /// The Firecrackers that become clones: each was just started, and each is another.
  std::vector<VmmAddress> clones{};
};

/// What became of one clone.
struct LiveClone {
  std::string api_socket;
  Result<ResumeReport> resumed = ResumeReport{};
  double ready_ms = 0;  ///< from the beginning of live_fork() until its VM ran (or had failed)
};

struct LiveForkReport {
  PauseReport pause;
  std::vector<LiveClone> clones;  ///< in the order of the options
  double readable_ms = 0;         ///< from the beginning until clones could be loaded
  double clones_ms = 0;           ///< from the beginning until the last clone ran
  double durable_ms = 0;          ///< from the beginning until the snapshot was on the disk
  std::vector<std::string> notes;
};

/// Takes a checkpoint of a running VM, and resumes clones from it as soon as its files can be read:
/// before they are on the disk. Returns when the snapshot `pause.name` is on the disk and each
/// clone runs or has failed. A clone that fails does not fail the others, nor the checkpoint: see
/// LiveForkReport::clones.
///
/// Until the snapshot is on the disk, a clone counts as running from a state in flight: if it is
/// paused then, its memory file is a full one, never a diff of what may not exist. If the
/// checkpoint cannot be stored (the call fails; the pause is queued, as pause() says), the clones
/// run on from the files that their pins hold, every block of which is checked when it is read, and
/// their first pause is a full one. If this process is killed, the same holds. A power failure ends
/// the clones with the source.
///
/// kUsage: `after` is kStop, `once` is set, there are no clones, or two have one socket; else as
/// pause().
Result<LiveForkReport> live_fork(const LiveForkOptions& options);

}  // namespace lamina
