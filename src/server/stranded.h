// VMs of a store whose pages no server has: they had connected to a server that died before
// it had them on record, and with it went their handshake.
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

/// Looks for them from time to time. Not thread-safe.
class StrandedVms {
 public:
  /// Without a store nothing is looked for, since only pins tell whose VM one is. It must outlive
  /// this.
  void set_store(const StorePlace& store) { store_ = &store; }

  /// When it is time to look: kills the VMs that have a pin by page faults and are not on record,
  /// and whose threads wait for pages now and did the last time, too. (One that has just connected
  /// is on record by then; one that a server has filled and let go waits for nothing.) Their
  /// memory cannot be had any more, and the VM would hang for ever.
  void look_if_due(const StateDirectory& states, Totals& totals, const Log& log);

  /// Until it is time; -1: never.
  [[nodiscard]] int due_ms() const;

 private:
  using Clock = std::chrono::steady_clock;

  /// Whether a thread waits for pages of the VM of this pin, and it should have been on record.
  [[nodiscard]] bool is_stranded(const StateDirectory& states, const store::StoreIdentity& here,
                                 const std::string& pin) const;

  const StorePlace* store_ = nullptr;
  Clock::time_point next_ = Clock::now();
  std::set<std::string> suspects_;
};

}  // namespace lamina::server
