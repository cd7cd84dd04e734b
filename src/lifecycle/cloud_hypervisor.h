// Pausing and resuming a Cloud Hypervisor VM. The store's half is the same as for Firecracker: pin,
// journal, finish, recovery. What differs is in vmm/vmm.h.
#pragma once

#include <string>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "lifecycle/claimed_cloud_hypervisor.h"
#include "lifecycle/interruption.h"
#include "lifecycle/pause_with.h"
#include "lifecycle/resume_from.h"
#include "store/snapshot_directory.h"

namespace lamina::lifecycle {

/// pause() of a Cloud Hypervisor VM:
///
///   claim      the VM, its store and its pin
///   hand over  the VMM sends its memory's layout; not yet frozen      cloud_hypervisor_handover.h
///   freeze     our answer freezes the VM; it sends its state
///   capture    changed pages are read from the process               guest_image.h
///   go on      a checkpoint: our Error lets the VM run on
///   finish     sync, journal, header, publish                         finish.h
///   accept     a stop: our Ok ends the process
///
/// Nothing clears what the VM has changed, so whatever fails before `accept` leaves the VM as it
/// was, and its next pause sees all of it again.
///
/// With `when_readable` the state is acknowledged in `finish` when all of the snapshot is on the
/// disk, not when its memory file is. A checkpoint that cannot be stored is discarded.
Result<PauseReport> pause_cloud_hypervisor(const PauseOptions& options,
                                           const WhenReadable& when_readable,
                                           ClaimedCloudHypervisor claimed,
                                           Interruption& interruption,
                                           std::vector<std::string> notes);

/// resume() into a Cloud Hypervisor: the VM maps a materialized file privately. `source`: null, or
/// what is resumed instead of the snapshot that the options name; it is not one that is arriving.
Result<ResumeReport> resume_cloud_hypervisor(const ResumeOptions& options,
                                             const ResumeSource* source,
                                             ClaimedCloudHypervisor claimed,
                                             Interruption& interruption,
                                             std::vector<std::string> notes);

/// kUnsupported if the snapshot's VM state is a Cloud Hypervisor VM's.
Status check_is_firecrackers(const store::OpenSnapshot& snapshot);

}  // namespace lamina::lifecycle
