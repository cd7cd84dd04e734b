// The lock that keeps a whole snapshot from being evicted between the moment at which a resume
// finds it and the moment at which a pin links its files (docs/remote.md, "Bounded disk").
//
// It is a lock of the header's file. A resume shares it; an eviction needs it alone. Pins and forks
// may link the same header, so an eviction can also be held up by the resume of another snapshot. A
// kill releases it. `lamina rm` does not ask for it: who removes by name means it.
#pragma once

#include <optional>
#include <string>

#include "lamina/result.h"
#include "os/lock.h"

namespace lamina::store {

/// Takes a share of the lock of the snapshot in the open `directory`, without looking whether the
/// directory still has its name. Waits while an eviction has the lock. kNotFound: no header.
Result<os::LockedFd> share_snapshot_use(int directory, const std::string& path);

/// The same of the snapshot at `path`, which has that name when the lock has been taken. Absent:
/// there is no snapshot.
Result<std::optional<os::LockedFd>> hold_snapshot(const std::string& path);

/// Takes the lock alone, without waiting. Absent: somebody is about to resume from the snapshot.
Result<std::optional<os::LockedFd>> claim_snapshot(int directory, const std::string& path);

}  // namespace lamina::store
