// The groups of benchmarks of page faults.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench.h"
#include "fault_input.h"
#include "lamina/result.h"

namespace lamina::bench {

/// "fault/…": one guest that touches its memory.
Status run_touches(Bench& bench, const FaultInput& input);

/// "populate/…": memory that is filled without a fault. `directory` is for more inputs.
Status run_populate(Bench& bench, const FaultInput& input, const std::string& directory);

/// The blocks that each guest of a fleet touches, in its own order.
using FleetTouches = std::vector<std::vector<std::uint32_t>>;

/// A chain that fleets of VMs of 64 MiB run from, below the new directory `directory`.
Result<std::unique_ptr<FaultInput>> make_fleet_input(const std::string& directory);
/// A random tenth of the memory for each of `guests`.
FleetTouches draw_fleet_touches(std::size_t guests);
/// A guest for each of `touches`, which must outlive the contenders as `input` must: served by the
/// real program ("ours") and by bare loops on as many threads ("floor").
std::vector<Contender> fleet_contenders(const FaultInput& input, const FleetTouches& touches);

/// "serve/…": many VMs served by the real program.
Status run_serve(Bench& bench, const std::string& directory);

}  // namespace lamina::bench
