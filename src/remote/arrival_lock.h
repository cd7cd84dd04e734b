// Finding the arrivals of a store, and the lock of the process that fetches one.
#pragma once

#include <optional>
#include <string>

#include "lamina/remote.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/lock.h"
#include "store/arrival.h"

namespace lamina::remote {

struct LockedArrival {
  store::Arrival arrival;
  os::LockedFd lock;
};

/// Locks an arrival. kBusy: another process fetches it. kNotFound: there is none, or it has ended;
/// what is left of it is removed.
Result<LockedArrival> lock_arrival(const std::string& store, const Uuid& id);

/// The arrival that a pull would make, locked, after whoever fetches it has given up. Absent: there
/// is none, or another process has completed it.
Result<std::optional<LockedArrival>> wait_for_arrival(const PullOptions& options);

/// What begin_pull() returns without asking the bucket: the store has the snapshot, or it arrives.
/// Absent: it must be pulled.
Result<std::optional<LazyPullReport>> known_pull(const PullOptions& options);

/// A report about what arrives, without what is fetched.
PullReport report_of(const store::Arrival& arrival);

}  // namespace lamina::remote
