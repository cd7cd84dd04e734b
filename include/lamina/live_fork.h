// Forking a VM that runs on: clones that run before its state is on the disk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/result.h"

namespace lamina {

/// What one clone has of its own; the fields are those of ResumeOptions.
struct CloneDevices {
  std::vector<NetworkOverride> network_overrides{};
  std::string vsock_override{};
  std::vector<DriveOverride> drive_overrides{};
  std::string serial_override{};
  std::string console_override{};
};

struct LiveForkOptions {
  /// The checkpoint of the source. `vmm`, `store` and `name` as for pause(); `after` must be
  /// kResume or kStay (the default here is what PauseOptions has, so set it). Hooks and attachments
  /// are possible; `once` is not. If they fail, no clone is begun: a hook can copy the disks that
  /// the clones are given.
  PauseOptions pause{};
  /// Of the clones: all but `vmm`, `store` and `name`, which are set for each.
  ResumeOptions resume{};
  /// The processes that become clones, of the source's VMM: each was just started, and each is
  /// another.
  std::vector<VmmAddress> clones{};
  /// Empty: clones differ in nothing. Else one for each clone, in the order of `clones`, used in
  /// place of the fields of the same names in `resume`. Clones of a Cloud Hypervisor VM need them
  /// for each file and socket that the source has open: the source runs on.
  std::vector<CloneDevices> devices{};
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
/// checkpoint cannot be stored (the call fails; the pause is queued, as pause() says, or discarded
/// if the source is a Cloud Hypervisor VM, which loses nothing by it), the clones run on from the
/// files that their pins hold, every block of which is checked when it is read, and their first
/// pause is a full one (all pauses, of Cloud Hypervisor VMs). If this process is killed, the same
/// holds. A power failure ends the clones with the source.
///
/// kUsage: `after` is kStop, `once` is set, there are no clones, two have one socket, or `devices`
/// has another number of entries than `clones`; else as pause().
Result<LiveForkReport> live_fork(const LiveForkOptions& options);

}  // namespace lamina
