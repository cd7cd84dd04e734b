// Resuming from a snapshot whose memory is still being fetched (store/arrival.h), and waiting for
// it.
#pragma once

#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lifecycle/resume_from.h"
#include "store/name.h"
#include "store/pin.h"
#include "store/store.h"

namespace lamina::lifecycle {

/// `snapshot`, or the arrival of that name if the store has no such snapshot. A note says so.
Result<ResumeSource> find_to_resume(const store::SnapshotPath& snapshot,
                                    std::vector<std::string>& notes);

/// Waits until the base of a pin is whole: the layers of a pause must not depend on what may not
/// arrive. Nothing may have been asked of Firecracker yet; the VM runs meanwhile. Starts the page
/// server, which starts the fetcher, if there is none. kBusy: it has not arrived within the time
/// that a fault may wait; kFailed: it cannot arrive any more; kInterrupted.
Status wait_until_whole(const store::Store& store, const store::Pin& pin,
                        const std::vector<std::string>& page_server_command, Progress& interruption,
                        std::vector<std::string>& notes);

}  // namespace lamina::lifecycle
