// Removing arrivals (arrival.h), and what keeps one from being removed.
#pragma once

#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/lock.h"
#include "store/arrival.h"
#include "store/store.h"

namespace lamina::store {

/// Locked by processes that have begun an arrival, or found it, and are about to resume a VM from
/// it: they share the lock. A kill of such a process releases it.
inline constexpr const char* kArrivalUseName = "in-use";

/// Takes a share of that lock. Waits while the arrival is being removed. `directory` is that of the
/// arrival, or one that will be renamed to it.
Result<os::LockedFd> hold_arrival(int directory, const std::string& path);

/// Removes an arrival, or what is left of one. It is renamed out of the area first, so that a crash
/// leaves no half of it there. Not an error if it does not exist.
Status remove_arrival(const Store& store, const Uuid& id);

/// The locks of an arrival that nobody fetches and nobody is about to resume.
struct ArrivalClaim {
  os::LockedFd fetch;
  os::LockedFd use;
  bool is_fetched = false;        ///< another process has the first lock
  bool is_being_resumed = false;  ///< another process has the second lock

  [[nodiscard]] bool has_all() const { return !is_fetched && !is_being_resumed; }
};

/// Takes both locks without waiting, in the open directory of an arrival.
Result<ArrivalClaim> claim_arrival(int directory, const std::string& path);

/// True if a process fetches the arrival now.
Result<bool> is_fetched(int directory, const std::string& path);

/// Removes the arrivals whose snapshots have got their names, which a crash has left. One that a
/// process is ending now is left to it.
Status remove_ended_arrivals(const Store& store);

}  // namespace lamina::store
