// Pausing and resuming a Cloud Hypervisor VM. The store's half is the same as for Firecracker: pin,
// journal, finish, recovery. What differs is in vmm/vmm.h.
#pragma once

#include <memory>

#include "lamina/lifecycle.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "store/snapshot_directory.h"
#include "vmm/vmm.h"

namespace lamina::lifecycle {

/// True if a Cloud Hypervisor listens at the address.
bool runs_cloud_hypervisor(const VmmAddress& address, Progress* progress);

/// Connects to the VMM at the address, whichever it is.
Result<std::unique_ptr<vmm::Vmm>> reach_any(const VmmAddress& address, Progress* progress);

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
Result<PauseReport> pause_cloud_hypervisor(const PauseOptions& options);

/// resume() into a Cloud Hypervisor: the VM maps a materialized file privately.
Result<ResumeReport> resume_cloud_hypervisor(const ResumeOptions& options);

/// kUnsupported if the snapshot's VM state is a Cloud Hypervisor VM's.
Status check_is_firecrackers(const store::OpenSnapshot& snapshot);

}  // namespace lamina::lifecycle
