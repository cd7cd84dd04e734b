#include "bench.h"

namespace lamina::bench {

Status run_fault_suspects(Bench& /*bench*/) { return {}; }

}  // namespace lamina::bench
