// The metrics of the page server in Prometheus' text format.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "pager/vm_state.h"

namespace lamina::server {

/// Sums over VMs: those that run and those that have ended.
struct Totals {
  std::uint64_t sessions_started = 0;
  std::uint64_t sessions_running = 0;
  std::uint64_t vms_killed = 0;  ///< failed closed
  std::uint64_t peers_refused = 0;
  std::uint64_t vms_reacquired = 0;   ///< taken over from a dead server through their process
  std::uint64_t worker_restarts = 0;  ///< serving processes that died and were succeeded
  pager::VmCounters counters;
  pager::NetworkWaits network_waits;
};

/// One VM that is served now.
struct VmFigures {
  std::string name;  ///< PID-START, as its pin has it
  std::uint64_t memory_bytes = 0;
  const pager::VmCounters* counters = nullptr;         ///< not null
  const pager::NetworkWaits* network_waits = nullptr;  ///< not null
};

/// Adds what was done for one VM.
void add_counters(pager::VmCounters& sum, const pager::VmCounters& more);
void add_waits(pager::NetworkWaits& sum, const pager::NetworkWaits& more);

/// `vms`: each gets series of its own, lamina_vm_…{vm="PID-START"}, which end with it.
/// `supervisor`: the process that receives the server's signals; absent in an embedding program.
std::string format_metrics(const Totals& totals, std::span<const VmFigures> vms,
                           std::optional<pid_t> supervisor);

}  // namespace lamina::server
