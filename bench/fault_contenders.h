// Contenders of the benchmarks of page faults: a fresh guest for every run, somebody who serves it,
// each on the CPU it was given.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench.h"
#include "fault_input.h"
#include "fault_servers.h"
#include "format/trailer.h"
#include "pager/session.h"
#include "touching_guest.h"

namespace lamina::bench {

/// On which CPUs guest and server are.
struct Placement {
  std::string name;  ///< "same-cpu" or "other-cpu"
  int server = 0;
  int guest = 0;
};

/// Both placements, or one where there is only one CPU.
std::vector<Placement> placements();

/// What a contender's guest does, and where. Input and touches must outlive the contender.
struct FaultSetting {
  const FaultInput* input = nullptr;
  const std::vector<std::uint32_t>* touches = nullptr;
  Placement placement;
  bool measure = false;
  std::size_t threads = 1;  ///< of the guest
};

using ServerMaker =
    std::function<Result<std::unique_ptr<FaultServer>>(const ConnectedGuest&, const FaultInput&)>;
/// `reader`: see SessionServer::create.
ServerMaker session_server(const pager::FaultLimits& limits = {},
                           std::shared_ptr<pager::PlanReader> reader = nullptr);
/// A reader on the CPU of the guest, which does nothing meanwhile. As in production it outlives
/// many VMs, so its buffers have been touched before.
Result<std::shared_ptr<pager::PlanReader>> start_reader(const FaultSetting& setting);
ServerMaker floor_server(const pager::FaultLimits& limits = {},
                         FloorSource source = FloorSource::kMapping,
                         FloorOrder order = FloorOrder::kPageFirst);
ServerMaker plain_server();

/// From the guest's first touch to its last. `after` sees each guest when it has run. The words
/// that it read are checked in every run.
Contender touching(const std::string& name, const FaultSetting& setting, const ServerMaker& maker,
                   std::function<void(const TouchingGuest&)> after = {});

/// The same where the guest has mapped the materialized file and nobody serves it.
Contender touching_file(const FaultSetting& setting);

/// From the first of `runs` to the last, with nobody faulting. After the first run the guest
/// touches setting.touches and is checked.
Contender populating(const std::string& name, const FaultSetting& setting, const ServerMaker& maker,
                     const std::vector<BlockRun>& runs);

}  // namespace lamina::bench
