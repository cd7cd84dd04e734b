// Finds and kills VMs whose memory no server can fill: they had connected to a server that died
// before they were on record, so their handshake is lost.
#pragma once

#include <chrono>
#include <set>
#include <string>

#include "server/metrics.h"
#include "server/served_vms.h"
#include "server/state_directory.h"
#include "server/store_place.h"
#include "server/vm.h"
#include "store/store_identity.h"

namespace lamina::server {

/// Searches for them periodically. Not thread-safe.
class StrandedVms {
 public:
  /// `store` must outlive this. Without a store there is no search, because only pins show which
  /// VMs belong to the server.
  void set_store(const StorePlace& store) { store_ = &store; }

  /// If a search is due: kills the VMs that have a pin for page faults, are not on record, and have
  /// threads that wait for pages, now and at the last search. They would hang forever. (A VM that
  /// has just connected is on record by the second search. A VM that a server has filled and left
  /// waits for nothing.)
  void look_if_due(const StateDirectory& states, Totals& totals, const Log& log);

  /// To be called while peers wait in the backlog: they wait for pages and are not on record.
  void postpone();

  /// Milliseconds until the next search; -1: never.
  [[nodiscard]] int due_ms() const;

 private:
  using Clock = std::chrono::steady_clock;

  /// True if a thread of this pin's VM waits for pages, and the VM is not on record.
  [[nodiscard]] bool is_stranded(const StateDirectory& states, const store::StoreIdentity& here,
                                 const std::string& pin) const;

  const StorePlace* store_ = nullptr;
  Clock::time_point next_ = Clock::now();
  std::set<std::string> suspects_;
};

}  // namespace lamina::server
