// The groups of benchmarks of page faults.
#pragma once

#include "bench.h"
#include "fault_input.h"
#include "lamina/result.h"

namespace lamina::bench {

/// "fault/…": one guest that touches its memory.
Status run_touches(Bench& bench, const FaultInput& input);

/// "populate/…": memory that is filled without a fault. `directory` is for more inputs.
Status run_populate(Bench& bench, const FaultInput& input, const std::string& directory);

/// "serve/…": many VMs served by the real program.
Status run_serve(Bench& bench, const std::string& directory);

}  // namespace lamina::bench
