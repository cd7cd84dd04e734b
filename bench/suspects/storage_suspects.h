// The parts of run_storage_suspects.
#pragma once

#include "bench.h"
#include "lamina/result.h"

namespace lamina::bench {

Status run_scan_suspects(Bench& bench);
Status run_hole_suspects(Bench& bench);
Status run_punch_suspects(Bench& bench);
Status run_clone_suspects(Bench& bench);
Status run_write_suspects(Bench& bench);
Status run_io_uring_suspects(Bench& bench);
Status run_direct_io_suspects(Bench& bench);
Status run_layer_mapping_suspects(Bench& bench);

}  // namespace lamina::bench
