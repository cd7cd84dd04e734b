// A pause that tells its caller when its state can be read, before it is on the disk.
#pragma once

#include <functional>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "lifecycle/pending_pause.h"

namespace lamina::lifecycle {

/// Called once the VM runs on (or was told to stay paused), in the thread of the pause. The
/// directory of the pause then has the VM state, all layers and the header, but no facts, and not
/// all of it is synced. The directory keeps its path until the call returns. An error leaves the
/// pause queued.
using WhenReadable = std::function<Status(const PendingPause&)>;

/// pause(), with `when_readable`, which may be empty. If a checkpoint of a Cloud Hypervisor VM
/// cannot be stored then, it is discarded and not queued: nothing of the VM's changes is lost.
Result<PauseReport> pause_with(const PauseOptions& options, const WhenReadable& when_readable);

}  // namespace lamina::lifecycle
